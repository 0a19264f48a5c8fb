<?php
// The app of README.md for PHP's built-in server.
$body = file_get_contents('php://input');
$method = $_SERVER['REQUEST_METHOD'];
switch (strtok($_SERVER['REQUEST_URI'], '?')) {
    case '/echo':
        header('Content-Type: application/octet-stream');
        header('Content-Length: ' . strlen($body));
        header("X-Method: $method");
        echo $body;
        break;
    case '/parts':
        header('Content-Type: application/octet-stream');
        foreach (str_split($body, 10000) as $part) {
            echo $part;
            flush();
        }
        break;
    case '/none':
        header("X-Method: $method");
        http_response_code(204);
        break;
    case '/same':
        header('ETag: "x"');
        http_response_code(304);
        break;
    case '/events':
        header('Content-Type: text/event-stream');
        foreach ([0, 1, 2] as $number) {
            echo "data: $number\n\n";
            flush();
        }
        break;
    default:
        http_response_code(404);
}
