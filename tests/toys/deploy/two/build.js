// What a bundler would do: a file for the browser, made by packages, of which one is for the build alone.
require("once");
const ms = require("ms");
require("fs").mkdirSync("assets");
require("fs").writeFileSync("assets/app.js", `const day = ${ms("1 day")};\n`);
