"""HTTP that knows no feature.

body.py             reads and checks a request's body
reply.py            writes replies and failures
client.py           the client's address, the request's id
fields.py           types of fields, their rules
openapi.py          the description of the API
openapi_replies.py  its replies
pages.py            /, /docs, /openapi.json
console/            the page at /
docs/               the page at /docs; frame.json, introduction.md: parts of the description
health.py           /healthz, /readyz
background.py       work behind a response, or every few seconds
access_log.py       the log line of a request
"""
