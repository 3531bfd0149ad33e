package loading;

import clojure.lang.AFn;

import org.httpkit.client.HttpClient;
import org.httpkit.jni.NativeLibrary;
import org.httpkit.logger.ContextLogger;
import org.httpkit.logger.EventLogger;
import org.httpkit.logger.EventNames;
import org.httpkit.server.HttpServer;
import org.httpkit.server.ServerOptions;

import java.io.File;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.lang.management.MemoryPoolMXBean;
import java.lang.ref.WeakReference;
import java.net.InetSocketAddress;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

import javax.net.ssl.SSLContext;

/**
 * What class loaders and first calls do to a JVM, in plain Java: a JVM of its own starts in a third
 * of a second.
 */
public final class Loading {
    private Loading() {}

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "report":
                System.out.println(file());
                break;
            case "hold":
                System.out.println(file());
                Thread.sleep(Long.MAX_VALUE);
                break;
            case "loaders":
                loaders(Integer.parseInt(args[1]));
                break;
            case "reloads":
                reloads(Integer.parseInt(args[1]), Boolean.parseBoolean(args[2]));
                break;
            default:
                race(Integer.parseInt(args[1]));
        }
        System.out.flush();
        // Threads of a failed run must not keep the JVM.
        Runtime.getRuntime().halt(0);
    }

    /** The loaded file, or why there is none. */
    public static String file() {
        try {
            return String.valueOf(NativeLibrary.info().get("file"));
        } catch (UnsatisfiedLinkError e) {
            return e.getMessage();
        }
    }

    private static URLClassLoader loader() throws MalformedURLException {
        List<URL> urls = new ArrayList<>();
        for (String entry : System.getProperty("java.class.path").split(File.pathSeparator)) {
            urls.add(new File(entry).toURI().toURL());
        }
        return new URLClassLoader(urls.toArray(new URL[0]), ClassLoader.getPlatformClassLoader());
    }

    private static Object call(ClassLoader loader, String method)
            throws ReflectiveOperationException {
        return Class.forName(Loading.class.getName(), true, loader).getMethod(method).invoke(null);
    }

    /** Prints what this many class loaders have loaded, all alive at the same time. */
    private static void loaders(int n) throws Exception {
        List<ClassLoader> alive = new ArrayList<>();
        for (int i = 0; i < n; i++) {
            alive.add(loader());
            System.out.println(call(alive.get(i), "file"));
        }
        System.out.println("loaded by " + alive.size() + ": " + new ArrayList<>(mapped()));
    }

    /** Names of the images of the library that this process has. */
    private static List<String> mapped() throws IOException {
        List<String> found = new ArrayList<>();
        for (String line : Files.readAllLines(Paths.get("/proc/self/maps"))) {
            int at = line.indexOf('/');
            // Of another name than ours too, if it was put in the place of ours.
            if (at >= 0
                    && line.contains(".so")
                    && line.substring(at).contains("http")
                    && !found.contains(line.substring(at))) {
                found.add(line.substring(at));
            }
        }
        return found;
    }

    /**
     * Uses the library in one new class loader after the other.
     *
     * @param oneThread whether this thread makes all the calls, or a new one for each loader
     */
    private static void reloads(int n, boolean oneThread) throws Exception {
        List<WeakReference<ClassLoader>> loaders = new ArrayList<>();
        long early = 0;
        for (int i = 0; i < n; i++) {
            FutureTask<WeakReference<ClassLoader>> use = new FutureTask<>(Loading::reload);
            if (oneThread) {
                use.run();
            } else {
                new Thread(use).start();
            }
            loaders.add(use.get());
            collect(loaders);
            if (i == n / 4) {
                early = metaspace();
            }
        }
        System.out.println(
                "{:alive "
                        + collect(loaders)
                        + " :mapped "
                        + mapped().size()
                        + " :metaspace-growth "
                        + (metaspace() - early)
                        + "}");
    }

    private static WeakReference<ClassLoader> reload() throws Exception {
        try (URLClassLoader loader = loader()) {
            call(loader, "startAndStop");
            return new WeakReference<>(loader);
        }
    }

    /** How many of them are not collected within some seconds. */
    private static int collect(List<WeakReference<ClassLoader>> loaders)
            throws InterruptedException {
        int alive = loaders.size();
        for (int i = 0; i < 100 && alive > 0; i++) {
            System.gc();
            alive = (int) loaders.stream().filter(loader -> loader.get() != null).count();
            if (alive > 0) {
                Thread.sleep(50);
            }
        }
        return alive;
    }

    private static long metaspace() {
        for (MemoryPoolMXBean pool : ManagementFactory.getMemoryPoolMXBeans()) {
            if (pool.getName().equals("Metaspace")) {
                return pool.getUsage().getUsed();
            }
        }
        throw new IllegalStateException("no Metaspace");
    }

    private static HttpServer serve() throws IOException {
        ServerOptions options = new ServerOptions();
        options.address = new InetSocketAddress("127.0.0.1", 0);
        options.handler = new AFn() {};
        options.minThreads = 1;
        options.maxThreads = 2;
        options.threadPrefix = "worker-";
        options.errorLogger = ContextLogger.ERROR_PRINTER;
        options.warnLogger = ContextLogger.ERROR_PRINTER;
        options.eventLogger = EventLogger.NOP;
        options.eventNames = EventNames.DEFAULT;
        HttpServer server = new HttpServer(options);
        server.start();
        return server;
    }

    /**
     * Starts and stops a server and a client. No request: that would start Clojure, which leaves
     * things of its own in the calling thread.
     */
    public static void startAndStop() throws Exception {
        HttpServer server = serve();
        new HttpClient().stop();
        CompletableFuture<Boolean> stopped = new CompletableFuture<>();
        server.stop(100, () -> stopped.complete(true));
        stopped.get(20, TimeUnit.SECONDS);
    }

    /** Makes the JVM's first server and its first client, {@code lag} ms apart, on two threads. */
    private static void race(int lag) throws Exception {
        SSLContext.getDefault();
        FutureTask<HttpServer> server = new FutureTask<>(Loading::serve);
        FutureTask<HttpClient> client = new FutureTask<>((Callable<HttpClient>) HttpClient::new);
        new Thread(server).start();
        Thread.sleep(lag);
        new Thread(client).start();
        System.out.println(outcome(server) + " " + outcome(client));
    }

    private static String outcome(FutureTask<?> task) throws InterruptedException {
        try {
            task.get(20, TimeUnit.SECONDS);
            return "made";
        } catch (TimeoutException e) {
            return "hangs";
        } catch (ExecutionException e) {
            return String.valueOf(e.getCause());
        }
    }
}
