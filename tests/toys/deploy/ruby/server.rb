# One answer for every connection, with a gem that Bundler has put in place.
require "socket"
require "greeting"

server = TCPServer.new("0.0.0.0", ENV.fetch("PORT"))
trap("TERM") { exit }
loop do
  client = server.accept
  nil until (client.gets || "\r\n") == "\r\n"
  client.write "HTTP/1.1 200 OK\r\nContent-Length: #{Greeting::TEXT.size}\r\nConnection: close\r\n\r\n#{Greeting::TEXT}"
  client.close
end
