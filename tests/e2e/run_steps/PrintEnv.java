public class PrintEnv {
    public static void main(String[] args) throws InterruptedException {
        System.out.println("Hello, " + System.getenv("API_USER") + ", " + System.getenv("API_PASSWORD").length());
        Thread.sleep(600_000);
    }
}
