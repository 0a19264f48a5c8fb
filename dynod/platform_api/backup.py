"""`/dynod/backup`: everything that has to be kept of this daemon, as one stream. dynod's own resource.

An answer that is cut short is no backup: its end is the end of the chunked body.
"""

from aiohttp import web

from dynod.platform_api.exchange import stored

routes = web.RouteTableDef()


@routes.get("/dynod/backup", allow_head=False)
async def backup(request: web.Request) -> web.StreamResponse:
    """A backup as of now; with `?storage=1` also the apps' folders of storage."""
    async with stored(request).backup.begin(storage=request.query.get("storage") == "1") as write:
        response = web.StreamResponse(headers={"Content-Type": "application/gzip"})
        await response.prepare(request)
        try:
            await write(response.write)
        except OSError as error:
            if request.transport is not None:
                request.transport.abort()  # which its reader takes for what it is: no whole backup
            raise ConnectionResetError from error
        await response.write_eof()
        return response
