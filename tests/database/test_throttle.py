"""Counters that every worker and node shares."""

import pytest

from gateway import throttle
from gateway.db import db
from gateway.errors import ApiError, Code
from gateway.throttle import Counter


def test_check_and_clear_look_at_every_counter(app):
    counters = [Counter(f"counter-{n}", "somebody", 1, 60) for n in range(6)]
    with app.app_context():
        throttle.hit(counters[-1])
        db.session.commit()
        with pytest.raises(ApiError) as refusal:
            throttle.check(*counters)
        assert refusal.value.code is Code.TOO_MANY_REQUESTS
        throttle.clear(*counters)
        db.session.commit()
        throttle.check(*counters)
