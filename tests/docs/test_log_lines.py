"""What the library logs is explained."""

import re

from tests.docs.test_examples import ROOT

LINES = re.compile(
    r"(?:warning\(|exception\(|\btell\(|tell_\w+\(|_SLOW: Final = |_FAULT: Final = )"
    r'\s*((?:f?"[^"]*"\s*)+)'
)


def test_each_line_is_explained() -> None:
    """An operator who searches the docs for what is in the log finds it."""
    page = (ROOT / "docs" / "how-to" / "operate.md").read_text("utf-8")
    formats = [
        "".join(re.findall(r'"([^"]*)"', literals))
        for module in sorted((ROOT / "src" / "flask_larder").rglob("*.py"))
        for literals in LINES.findall(module.read_text("utf-8"))
    ]
    assert len(formats) >= 7
    for line in formats:
        parts = [part.strip() for part in re.split(r"%[.\w]+|{[^}]*}|[:,;]", line)]
        longest = [part for part in parts if len(part) >= 12]
        assert any(part in page for part in longest) or not longest, line
    assert "is not cached: " in page
    assert "which its key ignores: " in page
    assert "a hook or decorator before " in page
    assert "unless= of " in page
    assert "is not revalidated in the background: " in page
