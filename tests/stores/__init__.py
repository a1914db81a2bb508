"""A strict S3 server in this process whose deviations from AWS are switched on by name.

`quirks` names them and the stores that have them, `request` is what comes in and goes out,
`signatures` who may ask, `contents` what is kept, `reading`, `writing` and `uploads` the
operations, `server` the HTTP. Nothing here knows our file system.
"""
