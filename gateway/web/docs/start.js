// A layout of Swagger UI: the endpoints first, what is said about all of them below.
function EndpointsFirst({ React }) {
  const h = React.createElement;
  return {
    components: {
      EndpointsFirst: ({ getComponent, specSelectors }) => {
        const words = specSelectors.info().get("description");
        return h("main", null,
          h(getComponent("BaseLayout", true)),
          words && h("section", { className: "swagger-ui", id: "about" },
            h("h2", null, "About every endpoint"),
            h(getComponent("Markdown", true), { source: words })));
      },
    },
    statePlugins: { spec: { wrapSelectors: { selectInfoDescriptionField: () => () => "" } } },
  };
}

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
  validatorUrl: null, // or it would ask a server elsewhere
});
