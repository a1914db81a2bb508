"""An HTTP proxy in front of an S3 server that counts requests and injects faults.

`operations` names what a request asks for, `exchange` is the record of one, `faults` are what can
go wrong, `wire` is the HTTP, `proxy` the server. Nothing here knows our file system.
"""
