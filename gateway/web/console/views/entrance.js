// Views without an account: log in, register, set a new password.

import { ask, logIn, session, SERVICE, updateSession } from "../api.js";
import { h, hint, link, notice, title } from "../elements.js";
import { addressOf, codeField, codeForm, emailField, field, form, mailNotice, passwordField, shortPassword } from "../forms.js";
import { go } from "../place.js";
import { keep, recall } from "../store.js";
import { t } from "../words.js";

const isLogged = SERVICE.mails === "log";

// A form of the entrance, beside what this service is for.
const entrance = (name, ...children) => ({
  title: name,
  nodes: [h("div", { class: "entrance" },
    h("div", { class: "card" }, title(name), children),
    h("div", { class: "intro" }, h("p", { class: "lead" }, t("intro")),
      h("ol", {}, ["step_1", "step_2", "step_3"].map((key) => h("li", {}, t(key))))))],
});

// What a reload, or a phone that drops the page, keeps of a form: no password and no code.
const drafts = (view) => ({ draft: recall(view), keepDraft: (draft) => keep(view, draft) });

export function signIn() {
  return entrance(t("sign_in"),
    form({
      fields: [
        field({ name: "user_name", label: t("name_or_email"), required: true, autocomplete: "username" }),
        passwordField("password", t("password")),
      ],
      submit: t("sign_in"),
      send: async ({ user_name, password }) => {
        await logIn(addressOf(user_name), password);
        location.hash = recall("wanted") || "#projects";
        keep("wanted", null);
      },
    }),
    h("p", { class: "links" }, link(t("forgot"), "#forgot")),
    SERVICE.registration !== "closed" && h("p", { class: "links" }, `${t("no_account")} `, link(t("register"), "#register")),
    hint(t("one_tab")));
}

export function register() {
  const isInvited = SERVICE.registration === "invited";
  const names = [
    field({ name: "user_name", label: t("user_name"), hint: t("name_hint"), required: true, autocomplete: "username" }),
    emailField(),
  ];
  const codeAndPassword = () => [
    codeField(t(isInvited ? "invitation_hint" : "code_hint", SERVICE)), passwordField("password", t("password"), true),
  ];
  const settings = {
    submit: t("create_account"),
    check: ({ password }) => ({ password: shortPassword(password) }),
    lost: (words) => go("sign-in", {}, words, "warning"),
    send: async ({ user_name, email, reg_code, password }) => {
      await ask("register", { user_name, email, reg_code, password });
      keep("register", null);
      await enter(user_name, password, email, "registered", "welcome");
    },
  };
  return entrance(t("register"),
    SERVICE.registration === "closed" ? notice(t("closed"), "warning")
      : isInvited ? [notice(t("invited"), "info"), form({ ...settings, fields: [names, codeAndPassword()] })]
        : [mailNotice(), codeForm({
          ...settings, ...drafts("register"), before: names, after: codeAndPassword, sent: isLogged ? "code_in_log" : "code_sent",
          askCode: ({ user_name, email }) => ask("auth-code", { user_name, email }),
        })],
    h("p", { class: "links" }, `${t("have_account")} `, link(t("sign_in"), "#sign-in")));
}

export function forgot() {
  return entrance(t("reset_title"), mailNotice(),
    codeForm({
      ...drafts("forgot"), before: [emailField(t("email"), "username")], sent: isLogged ? "reset_in_log" : "reset_sent",
      after: () => [codeField(t("reset_hint")), passwordField("password", t("new_password"), true)],
      askCode: ({ email }) => ask("reset-code", { email }),
      submit: t("set_password"),
      check: ({ password }) => ({ password: shortPassword(password) }),
      lost: (words) => go("sign-in", {}, words, "warning"),
      send: async ({ email, reg_code, password }) => {
        await ask("reset-password", { email, reg_code, password });
        keep("forgot", null);
        await enter(email, password, email, "reset_done", "password_set");
      },
    }),
    h("p", { class: "links" }, link(t("back_to_sign_in"), "#sign-in")));
}

// Log in after a change that is done; a log-in that fails takes nothing of it back.
async function enter(name, password, email, done, welcome) {
  try {
    await logIn(name, password);
  } catch {
    return go("sign-in", {}, t(done), "good");
  }
  updateSession({ email });
  return go("projects", {}, t(welcome, { name: session().name }));
}
