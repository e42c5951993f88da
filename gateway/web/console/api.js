// The API: one function that asks, and the session.

import { go } from "./place.js";
import { keep, recall } from "./store.js";
import { currentLanguage, t } from "./words.js";

export const SERVICE = document.body.dataset; // service, mails, digits, registration, domains, zone, endPoints
export const MAX_INTEGER = 2 ** 31 - 1;
const ANSWER_TIME = 15000; // milliseconds
const LOST = [502, 504]; // a proxy's: the service may have done what it was asked
let clockAhead = 0; // milliseconds that the service's clock is ahead of this one

// The service did not do what it was asked, or nobody knows whether it did (isLost).
export class Refusal extends Error {
  constructor(path, code, { message = "", retry = 0, isLost = false } = {}) {
    super(message);
    Object.assign(this, { path, code, retry, isLost });
  }
}

// Ask an endpoint with the token of the session; return {data, total}. Throw a Refusal when the code
// is not 0, when no answer comes, or when what comes is not of this API.
export async function ask(path, body = {}) {
  const token = session()?.token;
  try {
    return await send(path, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        "Accept-Language": currentLanguage(), // of the mails
        ...(token && { Authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify(body),
      credentials: "same-origin", // the cookie that tells the service it knows this browser
    });
  } catch (refusal) {
    if (refusal.code === 1001 && token && session()?.token === token) {
      keep("wanted", location.hash);
      endSession("session_ended", "info");
    }
    throw refusal;
  }
}

// Tell whether the service refuses a project's requests because it is paused, expired or blocked;
// undefined when that cannot be known. This counts as no request.
export async function isStopped({ project_key: key, project_secret: secret }) {
  if (!secret) return undefined;
  try {
    // With credentials the browser would ask a person for a name and a password.
    await send("project/quota", { headers: { "X-API-Key": `${key}.${secret}` }, credentials: "omit" });
    return false;
  } catch (refusal) {
    return refusal.code === 1000 || undefined;
  }
}

async function send(path, request) {
  const aborter = new AbortController();
  const timer = setTimeout(() => aborter.abort(), ANSWER_TIME);
  let response, reply;
  try {
    response = await fetch(`api/v1/${path}`, { ...request, cache: "no-store", signal: aborter.signal });
    reply = await response.json();
  } catch { // no connection, no answer in time, or no JSON
  } finally {
    clearTimeout(timer);
  }
  const { code, message, total } = reply?.header ?? {};
  if (!Number.isInteger(code) || typeof reply.data !== "object" || !reply.data) {
    throw new Refusal(path, response && !aborter.signal.aborted ? "unexpected" : "network", { isLost: true });
  }
  const date = Date.parse(response.headers.get("Date"));
  if (date) clockAhead = date - Date.now();
  if (code === 0) return { data: reply.data, total };
  throw new Refusal(path, code, { message, retry: Number(response.headers.get("Retry-After")), isLost: LOST.includes(code) });
}

export const serviceNow = () => Math.floor((Date.now() + clockAhead) / 1000);

// Return the session of this tab, or null. Another service of the same host is somebody else.
export function session() {
  const found = recall("session");
  return found?.token && found.base === location.pathname ? found : null;
}

export function updateSession(changes) {
  keep("session", { ...session(), ...changes });
}

export function endSession(words, kind = "good", values = {}) {
  keep("session", null);
  keep("change-email", null);
  go("sign-in", {}, t(words, values), kind);
}

export async function logIn(name, password) {
  const { data } = await ask("login", { user_name: name, password });
  const claims = JSON.parse(atob(data.auth_token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
  keep("session", {
    base: location.pathname, token: data.auth_token, ends: claims.exp, id: claims.claim_id, name: data.user_name,
    email: name.includes("@") ? name : "", isAdmin: data.role === "admin", privilege: data.privilege,
    ip: data.login_ip, time: data.login_time, version: data.version,
  });
}

export const may = (privilege) => session().privilege.includes(privilege);

const CHUNK = 100; // the largest page of project/list

// The projects of a user. project/list gives them by id, oldest first; people want the newest
// first. So pages of the list are read from the end, each at most once.
export class Projects {
  constructor(user) {
    this.user = user;
    this.chunks = new Map();
  }

  async chunk(n) {
    if (!this.chunks.has(n)) {
      const { data, total } = await ask("project/list", { user_id: this.user, page_no: n, page_size: CHUNK });
      if (!Array.isArray(data.list)) throw new Refusal("project/list", "unexpected");
      this.total = total;
      this.chunks.set(n, data.list);
    }
    return this.chunks.get(n);
  }

  // Return `count` projects; the first is number `first` of the newest, from 0.
  async newest(first, count) {
    await this.chunk(0);
    const found = [];
    for (let n = this.total - 1 - first; n >= 0 && found.length < count; n--) {
      const project = (await this.chunk(Math.floor(n / CHUNK)))[n % CHUNK];
      if (project) found.push(project);
    }
    return found;
  }

  // Return the projects whose name or key holds a text, newest first.
  async search(text) {
    const wanted = text.toLowerCase();
    const all = await this.newest(0, Infinity);
    return all.filter((project) => `${project.project_name}\n${project.project_key}`.toLowerCase().includes(wanted));
  }

  async withId(id) {
    await this.chunk(0);
    let [low, high] = [0, Math.ceil(this.total / CHUNK) - 1];
    while (low <= high) {
      const middle = (low + high) >> 1;
      const list = await this.chunk(middle);
      const found = list.find((project) => project.id === id);
      if (found) return found;
      if (list.length && id > list[list.length - 1].id) low = middle + 1;
      else high = middle - 1;
    }
    return undefined;
  }

  // Return a project that was made just now.
  async withKey(key) {
    return (await this.newest(0, CHUNK)).find((project) => project.project_key === key);
  }
}
