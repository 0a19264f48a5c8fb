// A web dyno in Express: it listens on PORT, says who it is, and leaves when asked to.
import process from "node:process";
import express from "express";

const app = express();
app.disable("x-powered-by");
app.set("trust proxy", "loopback"); // the router adds X-Forwarded-For and X-Forwarded-Proto

app.get("/", (request, response) => {
  response.json({
    dyno: process.env.DYNO ?? "no dyno",
    pid: process.pid,
    client: request.ip,
    requestId: request.get("X-Request-Id") ?? null,
  });
});

const port = process.env.PORT ?? 3000;
const server = app.listen(port, (error) => {
  if (error) {
    throw error;
  }
  console.log(`${process.env.DYNO ?? "express"} listens on port ${port}`);
});

// SIGTERM asks a dyno to leave: finish what is under way, take nothing new, then end.
process.on("SIGTERM", () => {
  console.log("stopping: finishing the requests under way");
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
