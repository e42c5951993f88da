// Where the page is. The part of the address after "#" names a view and its parameters:
// #project?id=5. main.js listens to the two events and draws the views.

export const memory = {}; // what a view keeps until another one is opened
let pending = null; // what the next view has to say: [words, kind]

export function hashOf(view, params = {}) {
  const given = Object.entries(params).filter(([, value]) => value);
  return `#${view}${given.length ? `?${new URLSearchParams(given)}` : ""}`;
}

// Open a view, which then says the words. kind is "good", "info", "warning" or "bad".
export function go(view, params, words = "", kind = "good") {
  pending = [words, kind];
  const hash = hashOf(view, params);
  if (location.hash === hash) dispatchEvent(new Event("hashchange"));
  else location.hash = hash;
}

// Draw the present view anew, with what the service says now.
export function again(words = "", kind = "good", action = null) {
  pending = [words, kind, action];
  dispatchEvent(new Event("again"));
}

// Change the parameters in the address without opening a view.
export function rename(view, params) {
  history.replaceState(null, "", hashOf(view, params));
}

// Return a listener of a search field: soon after the last key, the view is drawn anew with the text.
export const searchIn = (view, params = {}) => (event) => {
  clearTimeout(memory.timer);
  memory.timer = setTimeout(() => {
    rename(view, { ...params, q: event.target.value.trim() });
    again();
  }, 250);
};

export function takePending() {
  const taken = pending;
  pending = null;
  return taken;
}
