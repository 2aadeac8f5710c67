"""The hub of the tests of `trackyard.publish` serves here as well."""

from tests.publish.conftest import hub

__all__ = ["hub"]
