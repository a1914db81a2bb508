"""The driver `native`: the FUSE kernel protocol spoken over /dev/fuse, without libfuse.

One request's way: `session` reads it from the descriptor and has `entries`, `nodes`, `handles` and
`directories` turn opcode and struct into one of `interface.Calls` → `session` writes the reply.
`wire` holds the struct layouts, `negotiation` what FUSE_INIT agreed, `backing` who reads a cache
file without us (passthrough), `notify` what we tell the kernel unasked, `mountcalls` the system
calls around a mount, `driver` all of it together for one mount in one process.

Not here: S3 and names. Nothing outside knows a FUSE struct.
Imported by `run`, `cli`, `keeper` and `mount`.
"""
