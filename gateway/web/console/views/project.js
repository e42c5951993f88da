// One project: its limits, usage, key, secret and ready-made calls.

import { ask, isStopped, MAX_INTEGER, may, Projects, SERVICE, serviceNow } from "../api.js";
import { bar, button, card, copyButton, facts, h, hint, link, notice, pill, quiet, seen, tabs, title } from "../elements.js";
import { usageChart, usageTable } from "../chart.js";
import { act, field, openDialog, wholeNumber } from "../forms.js";
import { again, go, hashOf, memory, rename } from "../place.js";
import { day, moment, t, wallTime } from "../words.js";
import { dayBar, nameAndType } from "./projects.js";

export async function project({ id = 0, key = "", ...place }) {
  const all = new Projects(place.user);
  const found = await (key ? all.withKey(key) : all.withId(id));
  const back = h("p", { class: "back" }, link(`← ${t("back")}`, hashOf("projects", place)));
  if (!found) return { title: t("gone"), nodes: [back, h("div", { class: "card empty" }, title(t("gone")), quiet(t("gone_text")))] };
  if (key) rename("project", { id: found.id, ...place });
  const [{ data: usage }, stopped] = await Promise.all([ask("project/usage", { id: found.id, days: 30 }), isStopped(found)]);
  // What its owner has paused may be blocked as well; nothing tells.
  const isBlocked = stopped && isPaused(usage) ? undefined : stopped;
  return { title: found.project_name, nodes: [back, ...details(found, { ...usage, isBlocked }, place)] };
}

const isPaused = ({ active_until: until }) => until > 0 && until <= serviceNow();

// Return the words and the kind of a project's state.
function stateOf({ request_today, request_max }, usage) {
  const { active_until: until, month_max, month_used, isBlocked } = usage;
  if (isBlocked) return [t("blocked"), "bad"];
  if (isPaused(usage)) return [t("paused_since", { time: moment(until) }), "bad"];
  if (month_max && month_used >= month_max) return [t("month_used_up"), "bad"];
  if (request_max && request_today >= request_max) return [t("day_used_up"), "bad"];
  return until ? [t("expires", { time: moment(until) }), "warn"] : [t("active"), "good"];
}

const named = ({ project_name: name }) => ({ name });

function details(project, usage, place) {
  const left = h("div", {}, limitsCard(project, usage), usageCard(project, usage), aboutCard(project, usage, place));
  const right = h("div", {}, accessCards(project, usage));
  return [
    h("div", { class: "head" },
      h("div", {}, title(project.project_name), pill(stateOf(project, usage))),
      h("div", { class: "buttons" },
        button(t("edit"), () => editProject(project)),
        isPaused(usage) ? button(t("resume"), () => setActive(project, 0, t("was_resumed", named(project))))
          : !usage.isBlocked && button(t("pause"), () => pause(project, usage.active_until)))),
    usage.isBlocked && !may("ProjectEditAny") && notice(t("blocked_text"), "warning"),
    // What is new to a person stands first: the key, until there is usage.
    h("div", { class: "columns" }, project.request_total ? [left, right] : [right, left]),
  ];
}

function pause(project, until) {
  const undo = [t("undo"), () => setActive(project, until, t("was_resumed", named(project)))];
  const words = t(until ? "was_paused_early" : "was_paused", { ...named(project), time: moment(until) });
  setActive(project, serviceNow(), words, undo);
}

const setActive = (project, until, words, undo) =>
  act(() => ask("project/edit", { id: project.id, active_until: until }), () => again(words, "good", undo));

// The cards with key, secret, end points and calls. The secret is hidden until asked.
function accessCards(project, usage) {
  const { project_key: key, project_secret: secret } = project;
  const points = SERVICE.endPoints ? project.end_points : [];
  const credential = `${key}.${secret}`;
  const masked = (text) => (memory.isShown || !secret ? text : text.replaceAll(secret, "•".repeat(8)));
  const texts = [];
  const code = (text) => {
    const element = h("code", {}, masked(text));
    texts.push(() => { element.textContent = masked(text); });
    return element;
  };
  const value = (label, text, words, more) => h("div", { class: more ? "value wide" : "value" }, label && h("span", { class: "label" }, label), code(text),
    h("div", { class: "buttons" }, more, copyButton(label || text, () => text)), words && hint(words));
  const toggle = button("", () => { memory.isShown = !memory.isShown; drawToggle(); texts.forEach((update) => update()); }, "small");
  function drawToggle() {
    toggle.textContent = t(memory.isShown ? "hide" : "show");
    toggle.setAttribute("aria-label", t(memory.isShown ? "hide_secret" : "show_secret"));
  }
  drawToggle();
  const calls = secret ? callsOf(project, points) : [];
  return [
    card(t("credentials"), h("div", { class: "values" },
      value(t("key"), key),
      secret ? [value(t("secret"), secret, t("secret_private"), toggle), value(t("credential"), credential, t("credential_hint"))]
        : notice(t("lost_secret"), "warning"),
      points.map((point, n) => value(n ? "" : t("end_points"), point))),
    !SERVICE.endPoints && hint(t("no_end_points")),
    usage.old_secret_until > serviceNow() && notice(t("old_secret", { time: moment(usage.old_secret_until) }), "info"),
    h("div", { class: "buttons" }, button(t("rotate"), () => rotateProject(project)))),
    calls.length > 0 && card(t("calls"), tabs(t("calls"), calls.map(([name, call, remark]) => [name, () => [
      remark && hint(remark),
      h("pre", { tabindex: 0, role: "region", "aria-label": name }, code(call)),
      copyButton(name, () => call, t("copy_call")),
    ]]))),
  ];
}

// Ready-made calls of a project: [name, code, remark]. An end point may hold the credential already.
function callsOf({ project_key: key, project_secret: secret }, points) {
  const credential = `${key}.${secret}`;
  const http = points.find((point) => point.startsWith("http"));
  const socket = points.find((point) => point.startsWith("ws"));
  const bare = http?.replace(`/${credential}`, "").replace(/\/$/, "");
  const hasCredential = (point) => point.includes(credential);
  return [
    SERVICE.mails === "log" && [t("try_here"),
      `curl -i -u '${key}:${secret}' \\\n  ${new URL("api/v1/project/verify", document.baseURI).href}`, t("try_hint")],
    http && ["curl", [`curl ${http}`, !hasCredential(http) && `-H 'Authorization: Bearer ${credential}'`,
      "-H 'Content-Type: application/json'", "-d '{}'"].filter(Boolean).join(" \\\n  ")],
    http && ["Python", `from openai import OpenAI

client = OpenAI(
    base_url="${bare}/v1",
    api_key="${credential}",
)
answer = client.chat.completions.create(
    model="your-model",
    messages=[{"role": "user", "content": "Hello"}],
)
print(answer.choices[0].message.content)`],
    socket && ["JavaScript", `const socket = new WebSocket(
  "${hasCredential(socket) ? socket : `${socket.replace(/\/$/, "")}/${credential}`}",
);
socket.onopen = () => socket.send("hello");
socket.onmessage = (event) => console.log(event.data);`],
  ].filter(Boolean);
}

function limitsCard(project, usage) {
  const { month_max: month, month_used: used, per_minute: rate } = usage;
  return card(t("limits"),
    h("h3", {}, t("day_limit")), dayBar(project), project.request_max > 0 && hint(t("day_begins", SERVICE)),
    month > 0 && [h("h3", {}, t("month_limit")), bar(used, month, t(used < month ? "used_of" : "used_up_of", { used, max: month }), t("month_limit"))],
    rate > 0 && [h("h3", {}, t("rate_limit")), quiet(t("a_minute", { n: rate }))],
    may("ProjectEditAny") && h("div", { class: "buttons" }, button(t("set_limits"), () => setLimits(project, usage)),
      usage.isBlocked !== true && button(t("block"), () => block(project, true)),
      usage.isBlocked !== false && button(t("unblock"), () => block(project, false))));
}

function usageCard(project, usage) {
  const total = usage.list.reduce((sum, one) => sum + one.requests, 0);
  const last = usage.last_used ? t("last_used", { day: day(usage.last_used) }) : t("never_used");
  return card(t("usage"), quiet(total > 0 && `${t("usage_sum", { n: total })} `, last),
    total > 0 && [usageChart(usage.list, project.request_max), usageTable(usage.list)]);
}

function aboutCard(project, usage, place) {
  const until = isPaused(usage) ? 0 : usage.active_until;
  return card(t("facts"), facts([
    [t("id"), String(project.id)],
    [t("project_type"), String(project.project_type)],
    [t("created_at"), `${wallTime(project.created_time)} (${SERVICE.zone})`],
    [t("total"), t("requests_n", { n: project.request_total })],
    [t("pool"), project.pool_name],
    [t("active_until"), until > 0 && moment(until)],
  ]), h("div", { class: "buttons" },
    button(t("expire"), () => expireProject(project, usage)),
    until > 0 && button(t("unexpire"), () => setActive(project, 0, t("has_no_expiry", named(project)))),
    button(t("remove"), () => deleteProject(project, place), "danger")));
}

function editProject(project) {
  openDialog(t("edit_title"), "", {
    fields: nameAndType(project.project_name, project.project_type), submit: t("save"),
    send: ({ project_name, project_type }) =>
      ask("project/edit", { id: project.id, project_name, project_type: Number(project_type) }),
    done: () => again(t("edited")),
  });
}

function setLimits(project, usage) {
  const limit = (name, label, value, to) => wholeNumber({ name, label: t(label), value, to, hint: t("zero_is_none") });
  openDialog(t("set_limits"), "", {
    fields: [
      limit("request_max", "day_limit", project.request_max), limit("month_max", "month_limit", usage.month_max ?? 0),
      limit("per_minute", "rate_limit", usage.per_minute ?? 0, 6000000),
    ],
    submit: t("save"),
    send: (values) => ask("project/edit", { id: project.id, ...Object.fromEntries(Object.entries(values).map(([name, value]) => [name, Number(value)])) }),
    done: () => again(t("edited")),
  });
}

const block = (project, blocked) => act(() => ask("project/edit", { id: project.id, blocked }),
  () => again(t(blocked ? "was_blocked" : "was_unblocked", named(project))));

function expireProject(project, usage) {
  const until = usage.active_until;
  const suggested = until > serviceNow() ? until : serviceNow() + 30 * 86400;
  const local = new Date(1000 * suggested - 60000 * new Date(1000 * suggested).getTimezoneOffset());
  const secondsOf = (value) => Math.floor(new Date(value).getTime() / 1000);
  openDialog(t("expire_title"), t(isPaused(usage) ? "expire_paused" : "expire_text"), {
    fields: [field({
      name: "active_until", label: t("active_until"), type: "datetime-local", required: true, value: local.toISOString().slice(0, 16),
      hint: t("local_zone", { zone: Intl.DateTimeFormat().resolvedOptions().timeZone }),
    })],
    submit: t("save"),
    check: ({ active_until: value }) => {
      const seconds = secondsOf(value);
      if (!value) return {};
      if (Number.isNaN(seconds)) return { active_until: t("not_a_date") };
      return { active_until: seconds <= serviceNow() ? t("in_past") : seconds > MAX_INTEGER ? t("too_late") : "" };
    },
    send: ({ active_until: value }) => ask("project/edit", { id: project.id, active_until: secondsOf(value) }),
    done: ({ active_until: value }) => again(t("will_expire", { ...named(project), time: moment(secondsOf(value)) })),
  });
}

function rotateProject(project) {
  openDialog(t("rotate_title"), t("rotate_text"), {
    fields: [wholeNumber({ name: "grace_hours", label: t("grace_hours"), hint: t("grace_hint"), to: 168, value: 24 })],
    submit: t("rotate"),
    send: ({ grace_hours }) => ask("project/rotate", { id: project.id, grace_hours: Number(grace_hours) }),
    done: () => { memory.isShown = true; again(t("rotated")); },
  });
}

function deleteProject(project, place) {
  // Of a name that nobody sees, nothing can be typed; the key is as sure a sign of what is meant.
  const name = seen(project.project_name) || project.project_key;
  openDialog(t("delete_title", named(project)), t("delete_text"), {
    fields: [field({ name: "confirm", label: t("type_name", { name }), autocomplete: "off", required: true })],
    submit: t("remove"), kind: "danger solid",
    check: ({ confirm }) => ({ confirm: confirm && seen(confirm) !== name ? t("names_differ", { name }) : "" }),
    send: () => ask("project/delete", { id: project.id }),
    done: () => go("projects", place, t("deleted", named(project))),
  });
}
