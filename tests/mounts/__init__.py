"""Mounts as users make them: a child process, a mount point, a log, and a sure end.

`table` reads the kernel's mount table, `mount` runs any FUSE daemon, `ours` and `s3fs` know the two
daemons' command lines, `log` reads ours. A daemon that stops answering hangs whoever touches its
mount, so nothing here touches one: readiness is read from the mount table, and a watchdog process
breaks the connection of a test that overruns.
"""
