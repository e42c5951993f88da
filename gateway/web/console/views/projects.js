// The list of projects.

import { ask, Projects, session } from "../api.js";
import { bar, button, h, pager, quiet, title } from "../elements.js";
import { field, openDialog, wholeNumber } from "../forms.js";
import { go, hashOf, memory, rename, searchIn } from "../place.js";
import { day, number, t } from "../words.js";

const PAGE_SIZE = 20;
const MANY = 5; // projects from which a search helps

export async function projects({ page = 0, user = 0, name = "", q = "" }) {
  const isMine = !user || user === session().id;
  const place = { user, name };
  memory.all = q && memory.all ? memory.all : new Projects(user); // a search reads the list once
  const all = memory.all;
  const found = q && await all.search(q);
  const shown = found ? found.slice(page * PAGE_SIZE, (page + 1) * PAGE_SIZE) : await all.newest(page * PAGE_SIZE, PAGE_SIZE);
  const total = found ? found.length : all.total;
  if (!shown.length && total) { // the last project of this page is gone
    rename("projects", { ...place, q, page: Math.ceil(total / PAGE_SIZE) - 1 });
    return projects({ ...place, q, page: Math.ceil(total / PAGE_SIZE) - 1 });
  }
  const heading = isMine ? t("projects") : t("projects_of", { name: name || String(user) });
  return {
    title: heading,
    nodes: [
      h("div", { class: "head" }, title(heading), isMine && button(t("new_project"), createProject, "primary")),
      all.total > MANY && h("div", { class: "search", role: "search" }, field({
        name: "q", label: t("search"), type: "search", value: q, autocomplete: "off", oninput: searchIn("projects", place),
      })),
      shown.length ? table(shown, place) : empty(isMine, q),
      pager(page, PAGE_SIZE, shown.length, total, (target) => hashOf("projects", { ...place, q, page: target })),
    ],
  };
}

function empty(isMine, text) {
  if (text) return h("div", { class: "card empty" }, quiet(t("nothing_found", { text })));
  if (!isMine) return h("div", { class: "card empty" }, quiet(t("nobody")));
  return h("div", { class: "card empty" }, h("h2", {}, t("no_projects")), quiet(t("no_projects_text")),
    button(t("new_project"), createProject, "primary"));
}

const table = (shown, place) => h("table", { class: "card rows" },
  h("thead", {}, h("tr", {}, ["project_name", "today", "total", "created_at"].map((key) => h("th", { scope: "col", class: key }, t(key))))),
  h("tbody", {}, shown.map((project) => h("tr", {},
    h("th", { scope: "row" }, h("a", { class: "name", href: hashOf("project", { id: project.id, ...place }) }, project.project_name),
      h("code", {}, project.project_key)),
    h("td", {}, dayBar(project)),
    h("td", { class: "total" }, number(project.request_total)),
    h("td", { class: "created_at" }, day(project.created_time.slice(0, 10)))))));

export function dayBar({ request_today: used, request_max: max }) {
  if (!max) return quiet(t("used_no_limit", { n: used }));
  return bar(used, max, t(used < max ? "used_of" : "used_up_of", { used, max }), t("day_limit"));
}

export const nameAndType = (name = "", type = 1) => [
  field({ name: "project_name", label: t("project_name"), value: name, required: true, autocomplete: "off" }),
  wholeNumber({ name: "project_type", label: t("project_type"), hint: t("type_hint"), value: type }),
];

function createProject() {
  let made;
  openDialog(t("new_project"), "", {
    fields: nameAndType(), submit: t("create"),
    send: async ({ project_name, project_type }) => {
      made = (await ask("project/create", { project_name, project_type: Number(project_type) })).data;
    },
    done: ({ project_name }) => go("project", { key: made.project_key }, t("created", { name: project_name })),
  });
}
