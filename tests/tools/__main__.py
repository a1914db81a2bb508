"""`python -m tests.tools`: fetch what tests run and isn't there."""

from tests.tools.fetched import fetch

fetch()
