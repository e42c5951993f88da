// The account: who it is, its password, its address, and leaving.

import { ask, endSession, SERVICE, session, updateSession } from "../api.js";
import { button, card, facts, h, quiet, seen, title } from "../elements.js";
import { codeField, codeForm, emailField, field, form, mailNotice, openDialog, ownName, passwordField, shortPassword } from "../forms.js";
import { again } from "../place.js";
import { keep, recall } from "../store.js";
import { moment, t } from "../words.js";

export async function account() {
  const { name, email, id, isAdmin, time, ip, version } = session();
  // The API tells an address to admins alone; others see it when they have typed it in this session.
  const address = email || (isAdmin && await ownAddress(id)) || t("email_unknown");
  return {
    title: t("account"),
    nodes: [title(t("account")), h("div", { class: "columns" },
      h("div", {},
        card(t("your_account"), facts([
          [t("user_name"), name], [t("email"), address], [t("id"), String(id)], [t("role"), t(isAdmin ? "admin" : "user")],
          [t("this_login"), t("from", { time: moment(time), ip })], [t("version"), version],
        ]), h("div", { class: "buttons" }, button(t("log_out"), logOut))),
        card(t("change_password"), quiet(t("change_password_text")), form({
          fields: [ownName(), passwordField("old_password", t("old_password")), passwordField("new_password", t("new_password"), true)],
          submit: t("change_password"),
          check: ({ new_password }) => ({ new_password: shortPassword(new_password) }),
          send: async ({ old_password, new_password }) => {
            await ask("platform/change-password", { old_password, new_password });
            again(t("password_changed"));
          },
        }))),
      h("div", {},
        card(t("change_email"), quiet(t("change_email_text")), mailNotice(), codeForm({
          before: [emailField(t("new_email"))], sent: SERVICE.mails === "log" ? "code_in_log" : "code_sent",
          draft: recall("change-email"), keepDraft: (draft) => keep("change-email", draft),
          after: () => [codeField(t("code_hint", SERVICE)), ownName(), passwordField("password", t("old_password"))],
          askCode: ({ email: address }) => ask("platform/email-code", { email: address }),
          submit: t("change_email"),
          send: async ({ email: address, reg_code, password }) => {
            await ask("platform/change-email", { email: address, reg_code, password });
            keep("change-email", null);
            updateSession({ email: address });
            again(t("email_changed"));
          },
        })),
        card(t("leave"), quiet(t("leave_text")),
          h("div", { class: "buttons" }, button(t("leave_button"), leave, "danger")))))],
  };
}

async function ownAddress(id) {
  const { data } = await ask("admin/user-list", { query: String(id) });
  return data.list.find((user) => user.id === id)?.email;
}

function leave() {
  const { name } = session();
  openDialog(t("leave_title"), t("leave_text"), {
    fields: [
      field({ name: "confirm", label: t("type_name", { name }), autocomplete: "off", required: true }),
      ownName(), passwordField("password", t("old_password")),
    ],
    submit: t("leave_confirm"), kind: "danger solid",
    check: ({ confirm }) => ({ confirm: confirm && seen(confirm) !== seen(name) ? t("names_differ", { name }) : "" }),
    send: ({ password }) => ask("platform/delete-account", { password }),
    done: () => endSession("left_us"),
  });
}

// Forget the session in any case; say so when the service could not be told.
export async function logOut() {
  const { ends } = session();
  try {
    await ask("platform/logout");
  } catch (refusal) {
    if (refusal.code !== 1001) endSession("log_out_untold", "warning", { time: moment(ends) });
    return;
  }
  endSession("logged_out");
}
