"""An API with fastapi-keygate, as its documentation shows it.

``python keygate_app.py 200 1000`` makes a key for each quota and prints the keys.
"""

import os
import sys

from fastapi import Depends, FastAPI
from keygate import ApiKey, KeyGate

app = FastAPI()
gate = KeyGate(app, db_url=os.environ["DATABASE_URL"], limits_uri=os.environ["LIMITS_URI"])


@app.get("/verify", status_code=204)
def verify(_key: ApiKey = Depends(gate.require)):  # noqa: B008
    pass


if __name__ == "__main__":
    for quota in sys.argv[1:]:
        # An hour is its longest window.
        print(gate.create_key("lory", per_minute=None, per_hour=int(quota)).key)
