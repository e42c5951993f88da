// Code samples of an operation, in the languages of the reference document. Each function writes
// one request: its method, its url, its headers as pairs, and its body as JSON text, "" for none.
const SAMPLES = {
  shell: ({ method, url, headers, body }) =>
    [
      `curl -X ${method} ${shell(url)}`,
      ...headers.map(([name, value]) => `-H ${shell(`${name}: ${value}`)}`),
      ...(body && [`-d ${shell(body)}`]),
    ].join(" \\\n  "),

  http: ({ method, url, headers, body }) => {
    const { host, pathname } = new URL(url);
    const length = new TextEncoder().encode(body).length;
    const all = [["Host", host], ...headers, ...(body && [["Content-Length", length]])];
    const lines = all.map(([name, value]) => `${name}: ${value}`);
    return [`${method} ${pathname} HTTP/1.1`, ...lines, "", body].join("\n");
  },

  javascript: ({ method, url, headers, body }) =>
    `const reply = await fetch(${quoted(url)}, {
  method: ${quoted(method)},
  headers: {${headers.map(([name, value]) => ` ${quoted(name)}: ${quoted(value)}`)} },
${body && `  body: JSON.stringify(${indented(body, 2)}),\n`}});
console.log(reply.status, await reply.text());`,

  ruby: ({ method, url, headers, body }) =>
    `require "net/http"

uri = URI(${quoted(url)})
request = Net::HTTP::${method === "GET" ? "Get" : "Post"}.new(uri)
${headers.map(([name, value]) => `request[${quoted(name)}] = ${quoted(value)}\n`).join("")}${
      body && `request.body = <<~'JSON'\n${indented(`  ${body}`, 2)}\nJSON\n`
    }reply = Net::HTTP.start(uri.host, uri.port, use_ssl: uri.scheme == "https") do |http|
  http.request(request)
end
puts reply.code, reply.body`,

  python: ({ method, url, headers, body }) =>
    `import requests

reply = requests.${method.toLowerCase()}(
    ${quoted(url)},
    headers={${headers.map(([name, value]) => `${quoted(name)}: ${quoted(value)}`).join(", ")}},
${body && `    data="""${indented(escaped(body), 4)}""".encode(),\n`}    timeout=10,
)
print(reply.status_code, reply.text)`,

  php: ({ method, url, headers, body }) =>
    `<?php
$options = [
    "method" => ${quoted(method)},
    "header" => [${headers.map(([name, value]) => quoted(`${name}: ${value}`)).join(", ")}],
${body && `    "content" => '${indented(escaped(body), 4).replaceAll("'", "\\'")}',\n`}    "ignore_errors" => true,
];
$reply = file_get_contents(${quoted(url)}, false, stream_context_create(["http" => $options]));
echo $http_response_header[0], "\\n", $reply, "\\n";`,

  java: ({ method, url, headers, body }) =>
    `import java.net.URI;
import java.net.http.*;

public class Sample {
    public static void main(String[] arguments) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(${quoted(url)}))
${headers.map(([name, value]) => `            .header(${quoted(name)}, ${quoted(value)})\n`).join("")}            .${
      body ? `POST(HttpRequest.BodyPublishers.ofString(${quoted(compact(body))}))` : "GET()"
    }
            .build();
        var reply = HttpClient.newHttpClient()
            .send(request, HttpResponse.BodyHandlers.ofString());
        System.out.println(reply.statusCode() + " " + reply.body());
    }
}`,

  go: ({ method, url, headers, body }) =>
    `package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

func main() {
	body := strings.NewReader(${quoted(compact(body))})
	request, err := http.NewRequest(${quoted(method)}, ${quoted(url)}, body)
	if err != nil {
		panic(err)
	}
${headers.map(([name, value]) => `	request.Header.Set(${quoted(name)}, ${quoted(value)})\n`).join("")}	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		panic(err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		panic(err)
	}
	fmt.Println(reply.StatusCode, string(text))
}`,
};

const quoted = (text) => JSON.stringify(text);
const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const escaped = (text) => text.replaceAll("\\", "\\\\");
const compact = (json) => {
  try {
    return JSON.stringify(JSON.parse(json));
  } catch { // nothing, or what is being typed
    return json;
  }
};
const indented = (text, spaces) => text.replaceAll("\n", `\n${" ".repeat(spaces)}`);

// The header of a security scheme with what was authorised. What to put in place of the words in
// capitals stands in the scheme's description.
const CREDENTIALS = {
  token: (value = "AUTH_TOKEN") => ["Authorization", `Bearer ${value}`],
  project_basic: (value) => ["Authorization", `Basic ${value ? btoa(`${value.username}:${value.password}`) : "BASE64_OF_KEY_COLON_SECRET"}`],
  project_bearer: (value = "KEY.SECRET") => ["Authorization", `Bearer ${value}`],
  project_api_key: (value = "KEY.SECRET") => ["X-API-Key", value],
};

// Return the request of an operation with the body that was typed, else its example.
function requestOf(method, path, operation, typed, authorized) {
  const schemes = operation.security.flatMap(Object.keys);
  const scheme = schemes.find((name) => authorized[name]) ?? schemes[0];
  const example = operation.requestBody?.content["application/json"].example;
  return {
    method: method.toUpperCase(),
    url: new URL(`.${path}`, document.baseURI).href,
    headers: [
      ...(scheme ? [CREDENTIALS[scheme](authorized[scheme]?.value)] : []),
      ...(example ? [["Content-Type", "application/json"]] : []),
    ],
    body: example ? typed ?? JSON.stringify(example, null, 2) : "",
  };
}

// A plugin of Swagger UI that shows the samples of each operation above its responses.
function SamplesPlugin({ React }) {
  const h = React.createElement;
  let chosen = "shell"; // for the operations that are opened next

  function Samples({ system, path, method, operation }) {
    const [language, choose] = React.useState(chosen);
    const [, look] = React.useReducer((count) => count + 1, 0);
    React.useEffect(() => system.getStore().subscribe(look), []);
    const typed = system.oas3Selectors.requestBodyValue(path, method);
    const request = requestOf(method, path, operation, typed, system.authSelectors.authorized()?.toJS() ?? {});
    const button = (name) =>
      h("button", {
        key: name,
        type: "button",
        "aria-pressed": name === language,
        onClick: () => choose((chosen = name)),
      }, name);
    return h("div", { className: "samples" },
      h("h4", null, "Code samples"),
      h("div", { role: "group", "aria-label": "Language" }, Object.keys(SAMPLES).map(button)),
      h("pre", { tabIndex: 0 }, h("code", null, SAMPLES[language](request))));
  }

  return {
    wrapComponents: {
      responses: (Responses, system) => (props) => {
        const { path, method } = props;
        const operation = props.specSelectors.specJson().getIn(["paths", path, method]).toJS();
        return h(React.Fragment, null, h(Samples, { system, path, method, operation }), h(Responses, props));
      },
    },
  };
}
