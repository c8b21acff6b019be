import com.sun.net.httpserver.HttpServer;
import greeting.Checksum;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;

/** Greets a user over HTTP and shows, without revealing it, that the password from the CAS is there. */
public final class HelloServer {
    private HelloServer() {}

    /** Serves until it is stopped. */
    public static void main(String[] arguments) throws IOException {
        String user = required("API_USER");
        String password = required("API_PASSWORD");
        String text = String.format(resource("greeting/greeting.txt"), user, Checksum.of(password));
        HttpServer server = HttpServer.create(new InetSocketAddress(Integer.parseInt(required("PORT"))), 0);
        server.createContext("/", exchange -> {
            byte[] body = text.getBytes(StandardCharsets.UTF_8);
            exchange.getResponseHeaders().set("Content-Type", "text/plain; charset=utf-8");
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
        System.out.print(text);
        System.out.println("Serving on port " + server.getAddress().getPort() + ".");
    }

    private static String required(String name) {
        String value = System.getenv(name);
        if (value == null || value.isEmpty()) {
            System.err.println("The environment variable " + name + " is not defined.");
            System.exit(1);
        }
        return value;
    }

    private static String resource(String name) throws IOException {
        try (InputStream stream = HelloServer.class.getResourceAsStream("/" + name)) {
            return new String(stream.readAllBytes(), StandardCharsets.UTF_8);
        }
    }
}
