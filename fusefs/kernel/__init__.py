"""The driver `native`: the FUSE kernel protocol spoken over /dev/fuse, without libfuse.

One request's way: `session` reads it from the descriptor; `entries`, `nodes`, `handles` and
`directories` turn opcode and struct into one of `interface.Calls` → `session` writes the reply.
`wire` holds the struct layouts, `negotiation` the features agreed in FUSE_INIT, `backing` the files
open in passthrough, `notify` the notifications to the kernel, `mountcalls` the system calls around
a mount.

Not here: S3 and names. Nothing outside knows a FUSE struct.
Imported by `run`, `cli`, `keeper` and `mount`.
"""
