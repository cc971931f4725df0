"""The lab's fixtures are a pytest plugin that users have too; see docs/guides/testing-with-the-lab.md."""

pytest_plugins = ["fairway.lab.pytest"]
