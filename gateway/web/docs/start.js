// A layout of Swagger UI: how to try the API, then the endpoints, what is said about all of them below.
function EndpointsFirst({ React }) {
  const h = React.createElement;
  const paragraphs = (info) => (info.get("description") ?? "").trim().split("\n\n");
  return {
    components: {
      EndpointsFirst: ({ getComponent, specSelectors }) => {
        const words = paragraphs(specSelectors.info()).slice(1).join("\n\n"); // none before the description has come
        return h("div", null,
          h(getComponent("BaseLayout", true)),
          words && h("section", { className: "swagger-ui", id: "about", "aria-labelledby": "about-title" },
            h("h2", { id: "about-title" }, "About every endpoint"),
            h(getComponent("Markdown", true), { source: words })));
      },
    },
    // A link inside a button is of no use; the button writes the address, too.
    wrapComponents: { DeepLink: () => ({ text }) => h("span", null, text) },
    statePlugins: {
      spec: { wrapSelectors: { selectInfoDescriptionField: (_original, system) => () => paragraphs(system.specSelectors.info())[0] } },
    },
  };
}

// What Swagger UI leaves without a name, and a level of its headings that is left out.
const ATTRIBUTES = [
  ["textarea.body-param__text", "aria-label", "Body of the request"],
  ["select.examples-select-element", "aria-label", "Example"],
  ["select.content-type", "aria-label", "Content type"],
  ["h3.opblock-tag", "aria-level", "2"],
  ["h4, h5", "aria-level", "3"],
  [".information-container", "role", "region"],
  [".information-container", "aria-label", "About this API"],
  [".responses-table", "role", "group"],
  ["pre.curl, .highlight-code pre, .curl-command pre", "tabindex", "0"],
];
new MutationObserver(() => {
  for (const [selector, name, value] of ATTRIBUTES) {
    for (const element of document.querySelectorAll(selector)) {
      if (element.getAttribute(name) !== value) element.setAttribute(name, value);
    }
  }
}).observe(document.getElementById("page"), { childList: true, subtree: true });

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

// Relative to the page, so that it works below any prefix.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  layout: "EndpointsFirst",
  plugins: [EndpointsFirst, SamplesPlugin],
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  // Without a key, these ask for one as HTTP Basic does; the browser shall show that answer, and ask nobody.
  requestInterceptor: (request) => (/\/project\/(verify|quota)/.test(request.url) ? { ...request, credentials: "omit" } : request),
  validatorUrl: null, // or it would ask a server elsewhere
});
