"""Mark the stress tests that are known not to hold yet (see ``open_problems``)."""

from __future__ import annotations

import pytest
from stress.open_problems import OPEN


def pytest_collection_modifyitems(items):
    for item in items:
        known = OPEN.get(getattr(item, "originalname", ""), {})
        case = item.name.partition("[")[2].rstrip("]")
        if case in known:
            item.add_marker(pytest.mark.xfail(reason=known[case], strict=True))
