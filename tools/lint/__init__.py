"""House rules that no public linter knows, each small, each with a bad twin in ``tests/unit/tools``.

A line escapes a rule by a comment that names it and says why: ``# lint: allow <rule> - <reason>``. An escape without
a reason, and one that allows nothing, are findings themselves.
"""
