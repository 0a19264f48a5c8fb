// The app of README.md for Node's own http module.
const http = require('http');

const EVENTS = ['data: 0\n\n', 'data: 1\n\n', 'data: 2\n\n'];

const server = http.createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    const body = Buffer.concat(parts);
    switch (request.url) {
      case '/echo':
        response.writeHead(200, { 'Content-Length': body.length, 'X-Method': request.method });
        response.end(body);
        break;
      case '/parts':
        for (let start = 0; start < body.length; start += 10000) response.write(body.subarray(start, start + 10000));
        response.end();
        break;
      case '/none':
        response.writeHead(204, { 'X-Method': request.method });
        response.end();
        break;
      case '/same':
        response.writeHead(304, { ETag: '"x"' });
        response.end();
        break;
      case '/events':
        response.writeHead(200, { 'Content-Type': 'text/event-stream' });
        EVENTS.forEach((event) => response.write(event));
        response.end();
        break;
      default:
        response.writeHead(404, { 'Content-Length': 0 });
        response.end();
    }
  });
});

server.on('upgrade', (request, socket, head) => {
  socket.on('error', () => socket.destroy());
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: bytes-back\r\n\r\n');
  socket.write(head);
  socket.pipe(socket);
});

server.listen(0, process.argv[2], () => console.log('listening on ' + server.address().port));
