(ns smoke
  "Server and client on a platform that has no whole test suite: a program that `./dev platforms` runs in a JVM of that
  platform. Needs Clojure and the library, no test framework and no JDK tools.

  Arguments: what `(:platform (native-info))` must be, a certificate and its key (PEM, for localhost), and how many
  requests are started at once."
  (:require [clojure.java.io    :as io]
            [clojure.string     :as str]
            [org.httpkit.client :as client]
            [org.httpkit.server :as server]
            [org.httpkit.utils  :as utils])
  (:import (java.io File)
           (java.net BindException ConnectException InetAddress ServerSocket Socket URI)
           (java.net.http HttpClient WebSocket WebSocket$Listener)
           (java.nio.file Files)
           (java.nio.file.attribute FileAttribute)
           (java.util.concurrent CompletableFuture TimeUnit))
  (:gen-class))

(set! *warn-on-reflection* true)

(def ^:private limit "How long anything may take, in ms: emulators are slow." 120000)

(def ^:private results (atom []))

(defn- check [claim true?]
  (println (if true? "ok  " "FAIL") claim)
  (swap! results conj (boolean true?)))

(defmacro ^:private claim [text & body]
  `(check ~text (try ~@body (catch Throwable e# (println e#) (.printStackTrace e#) false))))

(defmacro ^:private with-server [[port handler options] & body]
  `(let [server# (server/run-server ~handler (merge {:port 0 :ip "127.0.0.1" :legacy-return-value? false} ~options))
         ~port   (server/server-port server#)]
     (try ~@body (finally (deref (server/server-stop! server#) limit nil)))))

(defn- request [port options]
  (deref (client/request (merge {:url (str "http://127.0.0.1:" port "/") :as :text :timeout limit} options)) limit nil))

(defn- thrown [class f]
  (try (f) false (catch Throwable e (instance? class e))))

(defn- free-port []
  (with-open [socket (ServerSocket. 0 1 (InetAddress/getByName "127.0.0.1"))]
    (.getLocalPort socket)))

(defn- cause [throwable]
  (last (take-while some? (iterate #(.getCause ^Throwable %) throwable))))

(defn- run-basics [platform]
  (claim (str "the library of " platform " is loaded") (= platform (:platform (utils/native-info))))
  (with-server [port (fn [{:keys [body uri]}] {:status 200 :body (if body (slurp body) uri)}) {}]
    (claim "a GET is answered" (= [200 "/"] ((juxt :status :body) (request port {}))))
    (claim "100 KB go up and down"
           (let [text (str/join (repeat 100000 \x))]
             (= text (:body (request port {:method :post :body text})))))
    (claim "a second server on the port is refused"
           (thrown BindException #(server/run-server identity {:port port :ip "127.0.0.1"}))))
  (claim "a refused connect is a ConnectException"
         (instance? ConnectException (cause (:error (request (free-port) {})))))
  (let [port (free-port)]
    (dotimes [n 3]
      (with-server [_ (constantly {:status 204}) {:port port}]
        (claim (str "start " n " on the port of the server that was stopped") (= 204 (:status (request port {}))))))))

(defn- run-files []
  (let [dir (.toFile (Files/createTempDirectory "http kit äöü €" (make-array FileAttribute 0)))]
    (doseq [[size where] [[10 "short"] [300000 "lang und breit ü"]]
            :let [file (io/file dir (str where ".txt"))
                  text (str/join (take size (cycle "0123456789abcdef")))]]
      (spit file text)
      (with-server [port (fn [_] {:status 200 :body file}) {}]
        (claim (str "a file of " size " bytes in a directory with blanks and umlauts")
               (= text (:body (request port {})))))
      (claim (str "a file of " size " bytes as an upload")
             (with-server [port (fn [{:keys [body]}] {:status 200 :body (str (count (slurp body)))}) {}]
               (= (str size) (:body (request port {:method :put :body file})))))
      (.delete file))
    (.delete dir)))

(defn- run-unix-socket [platform]
  (let [path (doto (File/createTempFile "httpkit" ".sock") (.delete))
        run  #(server/run-server (constantly {:status 204}) {:unix-socket path})]
    (if (str/starts-with? platform "windows")
      (do (claim "Unix domain sockets are refused, by name"
                 (try (run) false
                      (catch IllegalArgumentException e
                        (= "Unix domain sockets are not supported on Windows" (.getMessage e)))))
          (claim ":reuse-port? is refused, by name"
                 (try (server/run-server identity {:port 0 :reuse-port? true}) false
                      (catch IllegalArgumentException e (str/includes? (.getMessage e) "reuse-port?")))))
      (claim "a Unix domain socket is listened on" (let [stop (run)] (stop) (.delete (io/file path)))))))

(defn- run-tls [cert key]
  (let [stop (server/run-server (fn [{:keys [scheme]}] {:status 200 :body (name scheme)})
                                {:ip "127.0.0.1" :port 0 :http? false :ssl-port 0 :tls {:cert cert :key key}})]
    (claim "TLS" (= "https" (:body (deref (client/get (str "https://127.0.0.1:" (:ssl-port (meta stop)) "/")
                                                      {:insecure? true :as :text :timeout limit})
                                          limit nil))))
    (stop)))

(defn- echo [request]
  (server/as-channel request {:on-receive (fn [channel message] (server/send! channel message))}))

(defn- run-websocket []
  (with-server [port echo {}]
    (claim "a WebSocket message comes back"
           (let [message  (str/join (repeat 20000 "ü€"))
                 received (StringBuilder.)
                 whole    (CompletableFuture.)
                 listener (reify WebSocket$Listener
                            (onText [_ socket text last?]
                              (.append received text)
                              (when last? (.complete whole (str received)))
                              (.request ^WebSocket socket 1)
                              nil))
                 ^WebSocket socket (-> (HttpClient/newHttpClient) (.newWebSocketBuilder)
                                         (.buildAsync (URI. (str "ws://127.0.0.1:" port "/")) listener)
                                         (.get limit TimeUnit/MILLISECONDS))]
             (.sendText socket message true)
             (= message (.get whole limit TimeUnit/MILLISECONDS))))))

(defn- run-streams []
  (with-server [port (fn [request]
                       (server/as-channel request
                         {:on-open (fn [channel]
                                     (dotimes [n 100] (server/send! channel {:body (str n "\n")} false))
                                     (server/close channel))}))
                {}]
    (claim "a channel's hundred pieces arrive in order"
           (= (map str (range 100)) (str/split-lines (:body (request port {})))))))

(defn- run-crowd [at-once]
  (with-server [port (fn [_] {:status 200 :body "here"}) {}]
    (let [started (System/nanoTime)
          pending (doall (repeatedly at-once #(client/get (str "http://127.0.0.1:" port "/")
                                                          {:as :text :timeout limit})))
          ended   (mapv #(deref % limit nil) pending)]
      (println (format "     %d at once took %.1f s: %s" at-once (/ (- (System/nanoTime) started) 1e9)
                       (frequencies (map #(or (:status %) (str (:error %))) ended))))
      (claim (str at-once " requests at once are all answered") (every? #(= 200 (:status %)) ended)))))

(defn- run-stop []
  (let [entered (promise)
        stop    (server/run-server (fn [_] (deliver entered true) (Thread/sleep 300) {:status 200 :body "late"})
                                   {:port 0 :ip "127.0.0.1" :legacy-return-value? false})
        port    (server/server-port stop)
        pending (client/get (str "http://127.0.0.1:" port "/") {:as :text :timeout limit})]
    (claim "a stop lets the request that runs end"
           (and (deref entered limit false)
                (deref (server/server-stop! stop {:timeout 60000}) limit false)
                (= "late" (:body (deref pending limit nil)))))
    (claim "and nothing listens afterwards"
           (thrown ConnectException #(.close (Socket. "127.0.0.1" (int port)))))))

(defn -main [platform cert key at-once]
  (run-basics platform)
  (run-files)
  (run-unix-socket platform)
  (run-tls cert key)
  (run-websocket)
  (run-streams)
  (run-stop)
  (run-crowd (Long/parseLong at-once))
  (let [{passed true failed false} (frequencies @results)]
    (println (or passed 0) "passed," (or failed 0) "failed")
    (flush)
    ;; Of what an emulator leaves behind, nothing may keep the JVM.
    (.halt (Runtime/getRuntime) (if failed 1 0))))
