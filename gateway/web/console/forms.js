// Forms, dialogs, and the words for what the service refuses.

import { MAX_INTEGER, Refusal, SERVICE, session } from "./api.js";
import { announce, button, h, newId, notice } from "./elements.js";
import { again } from "./place.js";
import { t, waitWords } from "./words.js";

// The fields that a code is about; the first that the form has gets the words.
const FIELDS_OF = {
  1002: ["old_password", "password"], 1005: ["user_name"], 1008: ["reg_code"], 1009: ["project_name", "projects_max"],
  1012: ["user_name"], 1018: ["email"], 1029: ["email"],
};

// Make a labelled input; its problem stands below it. The name is the API's name of the field.
export function field({ name, label, hint, type = "text", ...attributes }) {
  const id = newId();
  const input = h("input", {
    id, name, type, "aria-describedby": `${id}e${hint ? ` ${id}h` : ""}`,
    autocapitalize: "off", spellcheck: "false", ...attributes,
  });
  const peek = type === "password" && button(t("show"), () => {
    const isShown = input.type === "text";
    input.type = isShown ? "password" : "text";
    peek.textContent = t(isShown ? "show" : "hide");
  }, "peek", { "aria-controls": id });
  return h("div", { class: "field" },
    h("label", { for: id }, label),
    h("div", { class: "input" }, input, peek),
    hint && h("p", { class: "hint", id: `${id}h` }, hint),
    h("p", { class: "problem", id: `${id}e` }));
}

export const passwordField = (name, label, isNew) => field({
  name, label, type: "password", required: true, autocomplete: isNew ? "new-password" : "current-password",
  hint: isNew && t("password_hint"),
});
// Tell password managers whose password a form is about.
export const ownName = () => h("input", { hidden: true, name: "username", autocomplete: "username", value: session().name, readonly: true });
export const codeField = (hint) =>
  field({ name: "reg_code", label: t("reg_code"), hint, required: true, inputmode: "numeric", autocomplete: "one-time-code" });
// Not of type "email", because browsers hand over another text than a person typed.
export const emailField = (label = t("email"), autocomplete = "email") =>
  field({ name: "email", label, inputmode: "email", required: true, autocomplete });
export const wholeNumber = ({ name, from = 0, to = MAX_INTEGER, required = true, ...rest }) =>
  field({ name, type: "number", inputmode: "numeric", min: from, max: to, step: 1, required, ...rest });

// Return an address as the service takes it: a domain of other letters in its ASCII form.
export function addressOf(text) {
  const [, local, domain] = text.trim().match(/^([^@]+)@([^@/?#:\\]*[^\x00-\x7f][^@/?#:\\]*)$/) ?? [];
  if (!domain) return text;
  try {
    return `${local}@${new URL(`http://${domain}`).hostname}`;
  } catch {
    return text;
  }
}

export const shortPassword = (password) => (password && [...password].length < 8 ? t("short") : "");

// Make a form. send(values) does the work; what it throws is shown beside the field it is about.
// check(values) returns {field: words} of what this page finds wrong. run(work, names) does another
// work with the fields of these names. lost(words) goes where one can see what became of a change
// that got no answer; nothing is sent again by itself.
export function form({ fields, submit, send, check = () => ({}), kind = "primary", extra, lost = (words) => again(words, "warning") }) {
  const general = h("p", { class: "problem general", role: "alert" });
  const submitButton = h("button", { type: "submit", class: kind }, submit);
  const element = h("form", { novalidate: true, onsubmit: (event) => { event.preventDefault(); element.run(send); } },
    fields, general, h("div", { class: "buttons" }, submitButton, extra));
  const inputs = () => [...element.querySelectorAll("input:not([hidden])")];

  element.run = async (work, names) => {
    if (element.getAttribute("aria-busy")) return;
    const concerned = inputs().filter((input) => !names || names.includes(input.name));
    const values = Object.fromEntries(concerned.map((input) => [input.name, input.value]));
    if (values.email) values.email = addressOf(values.email);
    const problems = names ? {} : Object.fromEntries(Object.entries(check(values)).filter(([, words]) => words));
    for (const input of concerned) {
      // A number or a date that the browser cannot read has no value.
      if (input.validity.badInput) problems[input.name] = input.type === "number" ? rangeWords(input) : t("not_a_date");
      else if (input.required && !input.value) problems[input.name] = t("required");
    }
    mark(problems);
    if (Object.keys(problems).length) return;
    element.setAttribute("aria-busy", "true");
    try {
      await work(values);
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal;
      if (!element.isConnected) return;
      const lostWords = refusal.isLost && t(`lost.${refusal.path}`);
      if (lostWords) lost(lostWords);
      else mark(problemsOf(refusal, inputs()));
    } finally {
      element.removeAttribute("aria-busy");
    }
  };

  // Show {field: words}, with "" for the form itself. Focus the first field concerned.
  function mark(problems) {
    for (const input of inputs()) {
      document.getElementById(`${input.id}e`).textContent = problems[input.name] ?? "";
      if (problems[input.name]) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    }
    general.textContent = problems[""] ?? "";
    const first = inputs().find((input) => problems[input.name]);
    first?.closest("[hidden]")?.removeAttribute("hidden");
    first?.focus();
  }

  return element;
}

const rangeWords = (input) => t("whole_number", { from: input.min, to: input.max });

// Return {field: words} for a refusal, with "" for what is about none of the form's inputs. The
// message of 1003 and 1004 begins each of its parts, between "; ", with the name of a bad field.
function problemsOf(refusal, inputs) {
  const named = refusal.code === 1003 || refusal.code === 1004 ? refusal.message.split("; ").map((part) => part.split(" ", 1)[0])
    : FIELDS_OF[refusal.code] ?? [];
  const concerned = inputs.filter((input) => named.includes(input.name));
  if (!concerned.length) return { "": refusalWords(refusal) };
  if (refusal.code in FIELDS_OF) return { [concerned[0].name]: refusalWords(refusal) };
  return Object.fromEntries(concerned.map((input) => [input.name, problemWords(input)]));
}

// Return what an input must be.
function problemWords(input) {
  if (input.type === "number") return rangeWords(input);
  const domains = SERVICE.domains && input.name === "email" && SERVICE.domains.split(" ");
  if (domains && !domains.includes(input.value.toLowerCase().split("@")[1])) {
    return t("problem.domain", { domains: domains.join(t("or")) });
  }
  return t(`problem.${input.autocomplete}`) ?? t(`problem.${input.name}`) ?? t("problem.other");
}

// Return what a refusal means: at its end point, else its code alone.
export function refusalWords({ path, code, message, retry }) {
  const values = { wait: waitWords(retry || 60), code: String(code), message };
  return t(`refusal.${path} ${code}`, values) ?? t(`refusal.${code}`, values) ?? t("refusal.other", values);
}

// Open a dialog with a form. It closes when the form's work is done; then done(values) goes on.
// Once it is closed, what it has begun does nothing more.
export function openDialog(name, text, settings) {
  const id = newId();
  let isBusy = false;
  const content = form({
    ...settings,
    send: async (values) => {
      isBusy = true;
      try {
        await settings.send(values);
      } finally {
        isBusy = false;
      }
      if (!dialog.open) return;
      dialog.close();
      settings.done?.(values);
    },
    lost: (words) => { dialog.close(); again(words, "warning"); },
    extra: button(t("cancel"), () => dialog.close()),
  });
  const dialog = h("dialog", { "aria-labelledby": id, onclose: () => {
    dialog.remove();
    if (isBusy) again(t("cancelled"), "warning");
  } }, h("h2", { id }, name), text && h("p", {}, text), content);
  document.body.append(dialog);
  dialog.showModal();
  (content.querySelector("input:not([hidden])") ?? content.querySelector("button")).focus();
}

// Do one thing without a form, like pausing; say what it means when it fails.
export async function act(work, done) {
  try {
    await work();
  } catch (refusal) {
    if (!(refusal instanceof Refusal)) throw refusal;
    const lostWords = refusal.isLost && t(`lost.${refusal.path}`);
    return lostWords ? again(lostWords, "warning") : announce(refusalWords(refusal), "bad");
  }
  return done();
}

// Say where codes appear, if it is not in a mailbox.
export const mailNotice = () => ({ log: notice(t("mails_log"), "info"), none: notice(t("mails_none"), "warning") })[SERVICE.mails] ?? null;

// A form in two steps: it asks for a code, then shows the fields that need it. `draft` is what a
// reload keeps: {email, user_name, isAsked}; keepDraft stores it.
export function codeForm({ before, after, askCode, sent, submit, send, check = () => ({}), draft, keepDraft, lost }) {
  const state = h("div", { "aria-live": "polite" });
  const first = h("div", { class: "later" }, before);
  const later = h("div", { class: "later" });
  const names = [...first.querySelectorAll("input")].map((input) => input.name);
  for (const input of first.querySelectorAll("input")) {
    if (draft?.[input.name]) input.value = draft[input.name];
    input.addEventListener("input", () => remember());
  }
  let isAsked = Boolean(draft?.isAsked);
  const remember = () => keepDraft({ ...Object.fromEntries([...first.querySelectorAll("input")].map(({ name, value }) => [name, value])), isAsked });
  const showLater = (words) => {
    isAsked = true;
    remember();
    draw(words);
    later.querySelector("input").focus();
  };
  const requestCode = async (values) => {
    await askCode(values);
    showLater(t(sent, values));
  };
  const resend = button(t("send_again"), () => element.run(requestCode, names), "plain");
  const have = button(t("have_code"), () => showLater(""), "plain");
  const change = button(t("change"), () => { first.hidden = false; first.querySelector("input").focus(); }, "small");
  const element = form({
    fields: [first, state, later], submit: "", extra: [resend, have], lost,
    check: (values) => (isAsked ? check(values) : {}),
    send: (values) => (isAsked ? send(values) : requestCode(values)),
  });
  function draw(words) {
    const values = [...first.querySelectorAll("input")].map((input) => input.value);
    resend.hidden = !isAsked;
    have.hidden = isAsked;
    element.querySelector("button[type=submit]").textContent = isAsked ? submit : t("send_code");
    if (!isAsked) return;
    first.hidden = values.every(Boolean);
    state.replaceChildren(...[words && notice(words, "good"), first.hidden && h("p", { class: "given" }, values.join(" · "), " ", change)].filter(Boolean));
    if (!later.firstChild) later.append(...after());
  }
  draw("");
  return element;
}
