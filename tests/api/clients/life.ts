// The life of an account and a project, with a client whose types openapi-typescript made from the
// description. tsc must find no fault in it. Run without a code, it asks for one; run again with
// the mailed code, it does the rest.
import createClient from "openapi-fetch";

import type { components, paths } from "./schema.js";

const [url = "", code = ""] = process.argv.slice(2);
const name = { user_name: "typed" };
const password = { password: "e10adc3949ba59abbe56e057f20f883e" };
const email = { email: "typed@126.com" };
const firstPage = {}; // what has a default may be left out
const api = createClient<paths>({ baseUrl: url });

function check(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(what);
}

async function askForCode(): Promise<void> {
  const { data } = await api.POST("/api/v1/auth-code", {
    params: { header: { "Accept-Language": "zh-CN" } },
    body: { ...name, ...email },
  });
  check(data?.header.code === 0, "auth-code");
}

async function live(): Promise<void> {
  const account = { ...name, ...password };
  const body = { ...account, ...email, reg_code: code };
  const registered = await api.POST("/api/v1/register", { body });
  check(registered.data?.header.code === 0, "register");
  const again = await api.POST("/api/v1/register", { body });
  check(again.data?.header.code === 1018, "register again");

  const wrong = await api.POST("/api/v1/login", { body: { ...account, password: "something" } });
  check(wrong.data?.header.code === 1002 && wrong.data.data.auth_token === undefined, "wrong password");
  const { data: login } = await api.POST("/api/v1/login", { body: account });
  check(login?.data.auth_token !== undefined, "login");
  const headers = { Authorization: `Bearer ${login.data.auth_token}` };

  const { data: made } = await api.POST("/api/v1/project/create", {
    headers,
    body: { project_type: 1, project_name: "我的ChatGPT项目" },
  });
  check(made?.data.project_key !== undefined, "create");
  const { data: page } = await api.POST("/api/v1/project/list", { headers, body: firstPage });
  check(page?.data.list !== undefined, "list");
  const project: components["schemas"]["Project"] | undefined = page.data.list[0];
  check(project !== undefined && project.project_secret === made.data.project_secret, "the listed secret");

  const { response } = await api.GET("/api/v1/project/verify", {
    headers: { Authorization: `Basic ${btoa(`${made.data.project_key}:${made.data.project_secret}`)}` },
  });
  check(response.status === 204, "verify");
  check(response.headers.get("X-Gateway-Project") === String(project.id), "the verified id");

  const gone = await api.POST("/api/v1/project/delete", { headers, body: { id: project.id } });
  check(gone.data?.header.code === 0, "delete");
  await api.POST("/api/v1/platform/logout", { headers, body: {} });
  const { error } = await api.POST("/api/v1/project/list", { headers, body: firstPage });
  check(error?.header.code === 1001, "a token after logout");
}

void (code ? live() : askForCode());
