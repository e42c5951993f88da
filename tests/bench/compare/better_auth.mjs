// An API with better-auth's plugin for API keys, as its documentation shows it.
//
// `node better_auth.mjs 200 1000` makes a key for each quota and prints the keys. Without an
// argument it serves with two workers.

import cluster from "node:cluster";
import { createServer } from "node:http";
import process from "node:process";

import { apiKey } from "@better-auth/api-key";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import Database from "better-sqlite3";

const DAY = 24 * 60 * 60 * 1000;
const quotas = process.argv.slice(2);

const auth = betterAuth({
  baseURL: `http://127.0.0.1:${process.env.PORT}`,
  database: new Database(process.env.DATABASE),
  emailAndPassword: { enabled: true },
  logger: { disabled: true }, // otherwise it writes a stack for each refusal
  // `remaining` is its count of a quota; its rate limit is a second one.
  plugins: [apiKey({ rateLimit: { enabled: false } })],
});

async function makeKeys() {
  await (await getMigrations(auth.options)).runMigrations();
  const lory = { name: "lory", email: "lory@example.com", password: "seven green bottles" };
  const { user } = await auth.api.signUpEmail({ body: lory });
  for (const quota of quotas.map(Number)) {
    const made = await auth.api.createApiKey({
      body: { userId: user.id, remaining: quota, refillAmount: quota, refillInterval: DAY },
    });
    console.log(made.key);
  }
}

async function answer(request, response) {
  const key = request.headers["x-api-key"];
  const { valid, error } = await auth.api.verifyApiKey({ body: { key } });
  response.writeHead(valid ? 204 : error.code === "USAGE_EXCEEDED" ? 429 : 401).end();
}

if (quotas.length) {
  await makeKeys();
} else if (cluster.isPrimary) {
  cluster.fork();
  cluster.fork();
} else {
  const failed = (response) => () => response.writeHead(500).end();
  createServer((request, response) => answer(request, response).catch(failed(response))).listen(
    Number(process.env.PORT),
    "127.0.0.1",
  );
}
