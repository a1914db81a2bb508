"""An empty FastAPI route over TLS, the yardstick of `bench.webhook`.

Arguments: TLS directory, port.
"""

import sys

import uvicorn
from fastapi import FastAPI, Response

app = FastAPI(openapi_url=None)


@app.post("/empty")
async def empty() -> Response:
    return Response()


if __name__ == "__main__":
    directory, port = sys.argv[1:]
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(port),
        log_config=None,
        access_log=False,
        server_header=False,
        ssl_certfile=f"{directory}/tls.crt",
        ssl_keyfile=f"{directory}/tls.key",
    )
