// The accounts of the service, for admins: find one, see its projects, ban it, limit it.

import { ask, may, session } from "../api.js";
import { button, h, link, pager, pill, quiet, title } from "../elements.js";
import { act, field, openDialog, wholeNumber } from "../forms.js";
import { again, hashOf, searchIn } from "../place.js";
import { day, t } from "../words.js";

const PAGE_SIZE = 20;

export async function users({ page = 0, q = "" }) {
  const { data, total } = await ask("admin/user-list", { query: q, page_no: page, page_size: PAGE_SIZE });
  return {
    title: t("users"),
    nodes: [
      title(t("users")),
      h("div", { class: "search", role: "search" }, field({
        name: "q", label: t("search_users"), type: "search", value: q, autocomplete: "off", oninput: searchIn("users"),
      })),
      data.list.length ? table(data.list) : h("div", { class: "card empty" }, quiet(t("nothing_found", { text: q }))),
      pager(page, PAGE_SIZE, data.list.length, total, (target) => hashOf("users", { q, page: target })),
    ],
  };
}

const table = (list) => h("table", { class: "card rows users" },
  h("thead", {}, h("tr", {}, ["user_name", "projects", "created_at", "actions"].map((key) => h("th", { scope: "col", class: key }, t(key))))),
  h("tbody", {}, list.map((user) => h("tr", {},
    h("th", { scope: "row" },
      h("span", { class: "name" }, user.user_name, " ", user.role === "admin" && pill([t("admin"), "good"]), user.banned && pill([t("banned"), "bad"])),
      h("span", { class: "quiet" }, `${user.email} · ${user.id}`)),
    h("td", {}, link(t("projects_n", { n: user.projects }), hashOf("projects", { user: user.id, name: user.user_name }))),
    h("td", { class: "created_at" }, day(user.created_time.slice(0, 10))),
    h("td", {}, may("UserManage") && h("div", { class: "buttons" },
      button(t("limit"), () => limitProjects(user), "small"),
      user.id !== session().id && button(t(user.banned ? "unban" : "ban"), () => (user.banned ? unban(user) : ban(user)), "small")))))));

const edit = (user, changes) => ask("admin/user-edit", { id: user.id, ...changes });

function ban(user) {
  openDialog(t("ban_title", { name: user.user_name }), t("ban_text"), {
    fields: [], submit: t("ban"), kind: "danger solid",
    send: () => edit(user, { banned: true }),
    done: () => again(t("was_banned", { name: user.user_name })),
  });
}

const unban = (user) => act(() => edit(user, { banned: false }), () => again(t("was_unbanned", { name: user.user_name })));

function limitProjects(user) {
  openDialog(t("limit_title", { name: user.user_name }), "", {
    fields: [wholeNumber({ name: "projects_max", label: t("projects_max"), hint: t("projects_max_hint"), required: false })],
    submit: t("save"),
    send: ({ projects_max }) => edit(user, { projects_max: projects_max === "" ? null : Number(projects_max) }),
    done: () => again(t("edited")),
  });
}
