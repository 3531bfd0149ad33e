(ns httpkit.resources-test
  "Peers that cost: memory follows what they send, not what they announce; slow and greedy ones harm no others;
  and when they are gone, so is everything that they held."
  (:require [clojure.java.io    :as io]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.soak       :as soak]
            [httpkit.subprocess :as subprocess]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server])
  (:import (java.io BufferedReader Closeable)
           (java.nio.file Files Path)
           (java.util.concurrent CountDownLatch Executors)
           (java.util.concurrent.atomic AtomicInteger)
           (org.httpkit.jni Native)
           (org.httpkit.server HttpServer)))

(set! *warn-on-reflection* true)

(defn- connections [{:keys [^HttpServer server]}]
  (Native/serverConnections (.get (doto (.getDeclaredField HttpServer "handle") (.setAccessible true)) server)))

(defmacro ^:private with-conns
  "Runs `body` with `name` bound to `n` connections, closed afterwards."
  [[name n port] & body]
  `(let [~name (vec (repeatedly ~n #(wire/connect ~port)))]
     (try ~@body
          (finally (run! (fn [^Closeable c#] (.close c#)) ~name)))))

(def ^:private upgrade
  (wire/get-request "/ws" ["Upgrade" "websocket"] ["Connection" "Upgrade"] ["Sec-WebSocket-Version" "13"]
                    ["Sec-WebSocket-Key" "dGhlIHNhbXBsZSBub25jZQ=="]))

(defn- handler [{:keys [uri body websocket?] :as req}]
  (cond
    websocket?        (server/as-channel req {:on-receive (fn [ch message] (server/send! ch message))})
    (= "/echo" uri)   {:status 200 :body body}
    (= "/big" uri)    {:status 200 :body (byte-array 20000000)}
    :else             {:status 200 :body "ok"}))

;; Announced sizes

(deftest memory-follows-what-is-received
  (doseq [[about announce] {"Content-Length" "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 8388608\r\n\r\nten bytes!"
                            "chunk size"     "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n7fffff\r\nten"
                            "frame length"   [upgrade (byte-array [0x82 0xff 0 0 0 0 0 0x3f 0xff 0xff 1 2 3 4 5 6])]
                            "fragments"      [upgrade (byte-array [0x02 0xfe 0xff 0xff 1 2 3 4 5 6])]}]
    (testing about
      (wire/with-server [{:keys [port] :as started} handler {}]
        (wire/fetch port "/")
        (let [n 300, before (soak/off-heap-kb)]
          (with-conns [conns n port]
            (doseq [conn conns]
              (if (string? announce)
                (wire/send! conn announce)
                (do (wire/send! conn (first announce))
                    (is (= 101 (:status (wire/read-head conn))))
                    (wire/send! conn (second announce)))))
            (is (wire/eventually #(= n (connections started))))
            ;; One answer on the same loop: it has read what came before.
            (is (= "ok" (:body (wire/fetch port "/"))))
            ;; 300 x 4 to 8 MB were announced; 100 kB each would be 30 MB.
            (is (< (- (long (soak/off-heap-kb)) (long before)) 30000))))))))

(deftest bodies-are-kept-once-and-released
  (wire/with-server [{:keys [port]} handler {}]
    (let [request (str "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 8000000\r\n\r\n" (apply str (repeat 8000000 \x)))
          ask     #(count (:body (wire/fetch port request)))]
      (is (= 8000000 (ask)))
      (let [before (soak/off-heap-kb)]
        (dotimes [_ 10] (is (= 8000000 (ask))))
        (is (< (- (long (soak/off-heap-kb)) (long before)) 40000) "not one copy per request")))))

;; Slow and greedy peers

(deftest peers-that-send-byte-by-byte-harm-no-others
  (wire/with-server [{:keys [port]} handler {}]
    (let [requests ["GET / HTTP/1.1\r\nHost: localhost\r\nX-Header: some value\r\n\r\n"
                    "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok"
                    "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\no\r\n1\r\nk\r\n0\r\nA: b\r\n\r\n"]
          slow     (mapv (fn [request]
                           (future
                             (with-open [conn (wire/connect port)]
                               (doseq [b request]
                                 (wire/send! conn (str b))
                                 (Thread/sleep 1))
                               (:body (wire/answer conn)))))
                         (take 30 (cycle requests)))]
      (dotimes [_ 50] (is (= "ok" (:body (wire/fetch port "/")))))
      (is (= #{"ok"} (set (map #(deref % wire/patience-ms :late) slow)))))))

(deftest peers-that-do-not-read-harm-no-others
  (doseq [[about options] {"own threads" {:allow-virtual? false :thread 4} "default" {}}]
    (testing about
      (wire/with-server [{:keys [port] :as started} handler options]
        (let [handles (Native/liveHandles)]
          (with-conns [conns 8 port]
            (doseq [conn conns] (wire/send! conn (wire/get-request "/big")))
            (doseq [conn conns] (is (= 200 (:status (wire/read-head conn)))))
            (dotimes [_ 20] (is (= "ok" (:body (wire/fetch port "/")))))
            (testing "and get all of it when they do read"
              (is (= 20000000 (count (wire/read-exactly (first conns) 20000000))))))
          (is (wire/eventually #(zero? (connections started))))
          (is (wire/eventually #(= handles (Native/liveHandles)))))))))

(deftest requests-behind-an-unread-answer-are-not-hoarded
  (wire/with-server [{:keys [port] :as started} handler {}]
    (with-open [conn (wire/connect port)]
      (let [before (soak/off-heap-kb)
            sent   (atom 0)
            flood  (future
                     (let [piece (apply str (repeat 100 (wire/get-request "/big")))]
                       (while (and (< (long @sent) 2000) (wire/send! conn piece))
                         (swap! sent inc))))]
        (is (= 200 (:status (wire/read-head conn))))
        (is (wire/settled 200 #(deref sent)) "its sending was stopped")
        (is (< (long @sent) 2000))
        (is (< (- (long (soak/off-heap-kb)) (long before)) 100000))
        (.close ^Closeable conn)
        (is (not= :late (deref flood wire/patience-ms :late)))))
    (is (wire/eventually #(zero? (connections started))))))

;; Churn: leaving in each state, in each way

(def ^:private states
  "How far a peer gets before it leaves: what it sends and what it waits for."
  {"connected"           (fn [_])
   "half a head"         #(wire/send! % "GET / HT")
   "half a body"         #(wire/send! % "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf")
   "within a chunk"      #(wire/send! % "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nha")
   "waiting for 100"     #(do (wire/send! % "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
                              (wire/read-head %))
   "request sent"        #(wire/send! % (wire/get-request "/"))
   "answered"            #(do (wire/send! % (wire/get-request "/")) (wire/answer %))
   "refused"             #(do (wire/send! % "BAD\r\n\r\n") (wire/read-head %))
   "held"                #(wire/send! % (wire/get-request "/held"))
   "streaming"           #(do (wire/send! % (wire/get-request "/stream")) (wire/read-head %))
   "within a big answer" #(do (wire/send! % (wire/get-request "/big")) (wire/read-head %))
   "many requests"       #(wire/send! % (apply str (repeat 50 (wire/get-request "/"))))
   "half a handshake"    #(wire/send! % (subs upgrade 0 60))
   "handshake sent"      #(wire/send! % upgrade)
   "upgraded"            #(do (wire/send! % upgrade) (wire/read-head %))
   "half a frame"        #(do (wire/send! % upgrade) (wire/read-head %) (wire/send! % (byte-array [0x81 0x85 1 2])))
   "message sent"        #(do (wire/send! % upgrade) (wire/read-head %) (wire/send! % (byte-array [0x81 0x81 0 0 0 0 65])))})

(def ^:private ways
  {"close" #(.close ^Closeable %)
   "reset" wire/reset!!
   "half-close" #(do (try (wire/half-close! %) (catch java.io.IOException _ nil))
                     (.close ^Closeable %))})

(defn- settled-descriptors
  "How many descriptors are open when the server runs and no peer is connected."
  [{:keys [port] :as started}]
  (wire/fetch port "/")
  (is (wire/eventually #(zero? (connections started))))
  (soak/descriptors))

(deftest leaving-in-any-state-leaves-nothing-behind
  (let [opened  (AtomicInteger.)
        closed  (AtomicInteger.)
        channel (fn [req on-open]
                  (server/as-channel req {;; Not :on-open: a peer may have left before the handshake is answered.
                                          :init     (fn [_] (.incrementAndGet opened))
                                          :on-open  on-open
                                          :on-close (fn [_ _] (.incrementAndGet closed))
                                          :on-receive (fn [ch message] (server/send! ch message))}))]
    (wire/with-server [{:keys [port] :as started}
                       (fn [{:keys [uri websocket?] :as req}]
                         (cond
                           (or websocket? (= "/held" uri)) (channel req (fn [_]))
                           (= "/stream" uri)               (channel req #(server/send! % "piece" false))
                           :else                           (handler req)))
                       {}]
      (let [descriptors (settled-descriptors started), handles (Native/liveHandles)]
        (doseq [[state reach] states
                [way leave]   ways]
          (testing (str state ", " way)
            (dotimes [_ 10]
              (let [conn (wire/connect port)]
                (reach conn)
                (leave conn)))
            (is (wire/eventually #(zero? (connections started))) "connections")
            (is (wire/eventually #(= handles (Native/liveHandles))) "handles")
            (is (wire/eventually #(= descriptors (soak/descriptors))) "descriptors")
            (is (wire/eventually #(= (.get opened) (.get closed))) "on-close once per channel")))
        (is (pos? (.get opened)))
        (is (= "ok" (:body (wire/fetch port "/"))))))))

(deftest a-storm-of-connections-is-survived
  (wire/with-server [{:keys [port] :as started} handler {}]
    (let [descriptors (settled-descriptors started)
          storm       (fn [] (dotimes [i 500]
                               (with-open [conn (wire/connect port)]
                                 (when (even? i) (wire/send! conn (wire/get-request "/"))))))]
      (run! deref (mapv (fn [_] (future (storm))) (range 4)))
      (is (wire/eventually #(zero? (connections started))))
      (is (wire/eventually #(<= (long (soak/descriptors)) (long descriptors))))
      (is (= "ok" (:body (wire/fetch port "/")))))))

;; Running out of descriptors

(defn- line-of [^BufferedReader reader]
  (deref (future (.readLine reader)) wire/patience-ms :late))

(defn- processor-ms
  "Processor time of a process so far."
  [pid]
  (let [stat   (first (Files/readAllLines (Path/of (str "/proc/" pid "/stat") (make-array String 0))))
        fields (str/split (second (str/split stat #"\) ")) #" ")]
    ;; Clock ticks of 10 ms: utime and stime.
    (* 10 (+ (Long/parseLong (nth fields 11)) (Long/parseLong (nth fields 12))))))

(def ^:private server-of-its-own
  "(require '[org.httpkit.server :as server])
   (println (:local-port (meta (server/run-server
                                 (fn [_] {:body \"ok\"})
                                 {:port 0 :ip \"127.0.0.1\"
                                  :error-logger (fn [msg e] (println msg) (flush))}))))
   (flush)")

(defn- limited-jvm
  "A JVM that may have `n` descriptors."
  ^Process [n script]
  (let [native (System/getProperty "http-kit.native.path")
        java   (concat [subprocess/java-command]
                       (when native [(str "-Dhttp-kit.native.path=" native)])
                       subprocess/native-access
                       ["-cp" (System/getProperty "java.class.path") "clojure.main" "-e" script])
        limit  (str "ulimit -n " n "; exec \"$@\"")]
    (-> (ProcessBuilder. ^java.util.List (into ["bash" "-c" limit "bash"] java))
        (.redirectErrorStream true)
        (.start))))

(deftest running-out-of-descriptors-is-survived-without-spinning
  (let [limit   150
        process (limited-jvm limit server-of-its-own)
        logged  (AtomicInteger.)]
    (with-open [out (io/reader (.getInputStream process))]
      ;; Ended before `out` is closed, which waits for the reader.
      (try
        (let [port (Long/parseLong (line-of out))]
          (future (while (when-let [line (.readLine ^BufferedReader out)]
                           (when (= "accept incoming request" line) (.incrementAndGet logged))
                           true)))
          (with-open [early (wire/connect port)]
            (wire/send! early (wire/get-request "/"))
            (is (= "ok" (:body (wire/answer early))))
            (with-conns [_ (* 2 limit) port]
              (is (wire/eventually #(pos? (.get logged))) "it is told of")
              (let [ms     2000
                    before [(processor-ms (.pid process)) (.get logged)]
                    _      (Thread/sleep ms)
                    used   (- (long (processor-ms (.pid process))) (long (first before)))
                    told   (- (.get logged) (long (second before)))]
                (is (< used (/ ms 2)) "the loop does not spin")
                (is (<= told 4) "nor does it flood the log"))
              (wire/send! early (wire/get-request "/"))
              (is (= "ok" (:body (wire/answer early))) "who is in is served"))
            (testing "and when the others have left, all is well"
              (is (wire/eventually #(= "ok" (try (:body (wire/fetch port "/"))
                                                 (catch java.io.IOException _ nil))))))))
        (finally (.destroyForcibly process))))))

(def ^:private program-that-takes-all-descriptors
  "Prints what its server and client do while there are none, some, and none again."
  "(require '[org.httpkit.client :as client] '[org.httpkit.server :as server])
   (import '(java.io ByteArrayInputStream FileInputStream IOException OutputStream) '(java.net Socket))
   (defn file [] (try (FileInputStream. \"/dev/null\") (catch IOException _ nil)))
   (let [closed  (promise)
         server  (server/run-server
                   (fn [{:keys [uri] :as req}]
                     (case uri
                       \"/seq\"    {:body (map str (range 100000))}
                       \"/stream\" {:body (ByteArrayInputStream. (byte-array 600000))}
                       \"/held\"   (server/as-channel req {:on-close (fn [_ status] (deliver closed status))})
                       {:body \"ok\"}))
                   {:port 0 :ip \"127.0.0.1\" :legacy-return-value? false})
         port    (server/server-port server)
         user    (client/make-client {})
         ask     (fn [^Socket socket uri]
                   (let [^OutputStream out (.getOutputStream socket)]
                     (.write out (.getBytes (str \"GET \" uri \" HTTP/1.1\\r\\nHost: h\\r\\nConnection: close\\r\\n\\r\\n\")))))
         reply   (fn [^Socket socket] (apply str (take 12 (slurp (.getInputStream socket)))))
         result  (fn [options] (let [{:keys [body error]} @(client/get (str \"http://127.0.0.1:\" port) (assoc options :client user))]
                                 (if error :error (slurp body))))
         sockets (vec (repeatedly 3 #(Socket. \"127.0.0.1\" (int port))))]
     (while (> 3 (:open (:connections (server/server-stats server)))) (Thread/sleep 10))
     (let [[a b held] sockets
           taken  (doall (take-while some? (repeatedly file)))
           during [(result {:as :stream})
                   (do (run! (partial apply ask) [[held \"/held\"] [a \"/seq\"] [b \"/stream\"]])
                       (reply a))
                   (reply b)]
           _      (run! (fn [^FileInputStream f] (.close f)) taken)
           then   [(result {:as :stream}) (result {:deadline 20000})]
           _      (doall (take-while some? (repeatedly file)))
           stop   (deref (server/server-stop! server {:timeout 100}) 20000 :late)]
       (prn during then stop (deref closed 20000 :late))
       (flush)
       (System/exit 0)))")

(deftest what-is-first-used-while-there-are-no-descriptors-works-then-and-later
  (let [{:keys [out]} (subprocess/finish (limited-jvm 200 program-that-takes-all-descriptors))]
    (is (= "[:error \"HTTP/1.1 200\" \"HTTP/1.1 200\"] [\"ok\" \"ok\"] true :client-close" (last (str/split-lines out)))
        out)))

(def ^:private server-that-never-responds
  "To `/slow`, that is, from a Ring handler and from an `IHandler`; prints both ports."
  "(ns slow
     (:require [org.httpkit.server :as server])
     (:import (org.httpkit HeaderMap HttpUtils)
              (org.httpkit.server AsyncChannel Frame HttpRequest HttpServer IHandler ProxyProtocolOption RespCallback)))
   (println (:local-port (meta (server/run-server
                                 (fn [req respond _] (when (= \"/ok\" (:uri req)) (respond {:body \"ok\"})))
                                 {:port 0 :ip \"127.0.0.1\" :ring-async? true}))))
   (let [handler (reify IHandler
                   (^void handle [_ ^HttpRequest request ^RespCallback callback]
                     (when (= \"/ok\" (.uri request)) (.run callback (HttpUtils/HttpEncode 200 (HeaderMap.) \"ok\"))))
                   (^void handle [_ ^AsyncChannel _ ^Frame _])
                   (clientClose [_ _ _])
                   (close [_ _]))
         server  (HttpServer. \"127.0.0.1\" 0 handler 1000 1000 1000 ProxyProtocolOption/DISABLED)]
     (.start server)
     (println (.getPort server))
     (flush))")

(deftest peers-that-leave-unanswered-do-not-use-up-the-descriptors
  (let [process (limited-jvm 300 server-that-never-responds)]
    (with-open [out (io/reader (.getInputStream process))]
      (try
        (doseq [port (doall (repeatedly 2 #(Long/parseLong (line-of out))))]
          (dotimes [_ 400]
            (with-open [conn (wire/connect port)]
              (wire/send! conn (wire/get-request "/slow"))))
          (is (= "ok" (:body (wire/fetch port "/ok")))))
        (finally (.destroyForcibly process))))))

;; Peers that leave

(deftest peers-that-leave-unanswered-free-their-connections-though-handlers-go-on
  (let [n        20
        gate     (CountDownLatch. 1)
        blocking (fn [_] (.await gate) {:body "late"})
        servers  (doall
                   (for [[about handler options]
                         [["own threads"   blocking {:allow-virtual? false :n-min-threads 2 :n-max-threads 4}]
                          ["default"       blocking {}]
                          ["a user's pool" blocking {:worker-pool (Executors/newFixedThreadPool 2)}]
                          ["ring-async"    (fn [_ _ _]) {:ring-async? true}]]]
                     (assoc (wire/start handler options) :about about)))]
    (try
      (doseq [{:keys [port]} servers]
        (with-conns [conns n port]
          (doseq [conn conns] (wire/send! conn (wire/get-request "/")))))
      (doseq [{:keys [about] :as started} servers]
        (is (wire/eventually #(zero? (connections started))) about))
      (finally
        (.countDown gate)
        (run! wire/stop servers)))))

(deftest handlers-that-never-answer-do-not-pile-up-after-their-peers
  (let [started-all (CountDownLatch. 20)
        gate        (CountDownLatch. 1)]
    (wire/with-server [{:keys [port] :as started}
                       (fn [_] (.countDown started-all) (.await gate) {:body "late"})
                       {:allow-virtual? false :n-min-threads 2 :n-max-threads 20}]
      (with-conns [conns 20 port]
        (doseq [conn conns] (wire/send! conn (wire/get-request "/")))
        (.await started-all)
        (run! wire/reset!! conns)
        (is (wire/eventually #(zero? (connections started))) "noticed while the handlers still run"))
      (.countDown gate))))
