import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;

/** Prints a secret and serves another one. */
public class Main {
    public static void main(String[] arguments) throws Exception {
        Object user = Files.getAttribute(Path.of("/proc/self"), "unix:uid");
        System.out.println("started as " + user + " in " + System.getProperty("user.dir"));
        System.out.println("the secret is " + System.getenv("TOKEN"));
        byte[] injected = Files.readAllBytes(Path.of("/etc/app/token"));
        HttpServer server = HttpServer.create(new InetSocketAddress(Integer.parseInt(arguments[0])), 0);
        server.createContext("/", exchange -> {
            exchange.sendResponseHeaders(200, injected.length);
            exchange.getResponseBody().write(injected);
            exchange.close();
        });
        server.start();
        System.out.println("listening");
    }
}
