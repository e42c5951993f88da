-- Ask gateway whether a request may pass; give the client its refusal as it is.
local NAMES = { "X-Gateway-Project", "X-Gateway-Key", "X-Gateway-Pool" }

core.register_action("ask_gateway", { "http-req" }, function(txn)
  local sent, asked = txn.http:req_get_headers(), {}
  for _, name in ipairs({ "authorization", "x-api-key", "x-request-id" }) do
    for _, value in pairs(sent[name] or {}) do
      asked[name] = asked[name] or {}
      table.insert(asked[name], value)
    end
  end
  asked["x-forwarded-for"] = { txn.f:src() }
  asked["x-forwarded-uri"] = { txn:get_var("txn.sent") }  -- not in the address, because HAProxy may log that
  local question = txn:get_var("txn.pool") .. "/" .. txn:get_var("txn.cost")
  local answer = core.httpclient():get({
    url = "http://127.0.0.1:8081/api/v1/project/check/" .. question, headers = asked, timeout = 10000,
  })
  local status, got = answer and answer.status or 503, answer and answer.headers or {}
  for name, values in pairs(got) do
    if name:find("^ratelimit") then
      txn:set_var("txn." .. name:gsub("-", "_"), values[0])
    end
  end
  if status == 200 then
    for _, name in ipairs(NAMES) do
      local value = got[name:lower()]
      if value and value[0] ~= "" then
        txn.http:req_set_header(name, value[0])
      end
    end
    return
  end
  local refusal = txn:reply()
  refusal:set_status(status < 400 and 503 or status)
  for _, name in ipairs({ "content-type", "cache-control", "retry-after", "www-authenticate" }) do
    if got[name] then
      refusal:add_header(name, got[name][0])
    end
  end
  refusal:set_body(answer and answer.body or "")
  txn:done(refusal)
end)
