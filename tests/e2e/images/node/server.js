// Prints a secret and serves another one.
const fs = require("fs");
const injected = fs.readFileSync("/etc/app/token");
console.log(`started as ${process.getuid()} in ${process.cwd()} for ${process.env.NODE_ENV}`);
console.log("the secret is " + process.env.TOKEN);
console.log("variables " + Object.keys(process.env).sort().join(" "));
const server = require("http").createServer((request, response) => response.end(injected));
server.listen(Number(process.argv[2]), () => console.log("listening"));
