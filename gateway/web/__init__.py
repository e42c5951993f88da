"""HTTP that knows no feature: bodies, replies, clients, pages and the API's description."""
