(ns httpkit.drain-test
  "`server-drain!`, and the drain when the JVM shuts down."
  (:require [clojure.java.io    :as io]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.files      :as files]
            [httpkit.keep-alive :as keep-alive]
            [httpkit.nginx      :as nginx]
            [httpkit.subprocess :as subprocess]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server]
            [org.httpkit.server.config :as config])
  (:import (java.io BufferedReader Closeable File)
           (java.lang.ref WeakReference)
           (java.net ConnectException InetSocketAddress Socket)
           (java.util.concurrent CountDownLatch TimeUnit)
           (org.httpkit.server HttpServer ServerOptions)))

(set! *warn-on-reflection* true)

(defn- patiently [promise] (deref promise wire/patience-ms :late))

(defn- refused? [port]
  (try (.close (wire/connect port)) false
       (catch ConnectException _ true)))

(defn- close-code
  "Of the close frame that comes next."
  [conn]
  (let [[a b c d] (map #(bit-and 0xff (int %)) (wire/read-exactly conn 4))]
    (is (= [0x88 2] [a b]))
    (+ (* 256 (int c)) (int d))))

(defn- stream-handler
  "Streams until `gate` opens; handlers of /block end then; others at once."
  [gate running]
  (fn [{:keys [uri websocket?] :as req}]
    (swap! running inc)
    (cond
      websocket?         (server/as-channel req {})
      (= "/block" uri)   (do (.await ^CountDownLatch gate) {:body "done"})
      (= "/stream" uri)  (server/as-channel req
                           {:on-open (fn [ch]
                                       (server/send! ch "first" false)
                                       (future (.await ^CountDownLatch gate) (server/send! ch "last" true)))})
      :else              {:body "quick"})))

(deftest a-drain-before-the-start-has-no-effect-on-a-later-one
  (let [gate    (CountDownLatch. 1)
        running (atom 0)
        options (config/server-options (stream-handler gate running) {:ip "127.0.0.1" :port 0})
        server  (HttpServer. ^ServerOptions options)]
    (is (nil? (server/server-drain! server {:timeout 0})))
    (is (.start server))
    (with-open [busy (wire/connect (server/server-port server))]
      (wire/send! busy (wire/get-request "/block"))
      (is (wire/eventually #(= 1 @running)))
      (let [drained (server/server-drain! server {:timeout 60000})]
        (is (= :still-draining (deref drained 500 :still-draining)))
        (.countDown gate)
        (is (= "done" (:body (wire/answer busy))))
        (is (= {:requests 1 :websockets 0 :cut 0} (patiently drained)))))))

(deftest a-drain-lets-requests-and-streams-end-and-closes-everything-else
  (let [gate    (CountDownLatch. 1)
        running (atom 0)
        {:keys [port server]} (wire/start (stream-handler gate running) {})]
    (with-open [idle   (wire/connect port)
                busy   (wire/connect port)
                stream (wire/connect port)
                ws     (wire/websocket port)]
      (wire/send! idle (wire/get-request "/quick"))
      (is (= "quick" (:body (wire/answer idle))))
      (wire/send! busy (wire/get-request "/block"))
      (wire/send! stream (wire/get-request "/stream"))
      (is (= 101 (:status (wire/read-head ws))))
      (is (= 200 (:status (wire/read-head stream))))
      ;; Not before what was read has ended for the server, too: a drain counts all that it finds under way.
      (is (wire/eventually #(= [4 2] [@running (:active (:requests (server/server-stats server)))])))
      (let [drained (server/server-drain! server {:timeout 60000})]
        (is (= :draining (server/server-status server)))
        (is (wire/eventually #(refused? port)))
        (is (= 1001 (close-code ws)) "at once")
        (is (wire/closed? idle))
        (is (= :draining (server/server-status server)) "the request and the stream still run")
        (is (not (realized? drained)))
        (let [again (server/server-drain! server)]
          (.countDown gate)
          (is (= ["done" "Close"] ((juxt :body #(get-in % [:headers "connection"])) (wire/answer busy))))
          (is (= ["first" "last"] (wire/read-chunks stream)))
          (is (= {:requests 2 :websockets 1 :cut 0} (patiently drained) (patiently again)))))
      (is (= :stopped (server/server-status server)))
      (is (nil? (server/server-stop! server))))))

(deftest what-has-not-ended-when-the-time-of-a-drain-is-over-is-cut-and-counted
  (let [gate    (CountDownLatch. 1)
        running (atom 0)
        {:keys [port server]} (wire/start (stream-handler gate running) {})]
    (with-open [stream (wire/connect port)
                half   (wire/connect port)]
      (wire/send! stream (wire/get-request "/stream"))
      (is (= 200 (:status (wire/read-head stream))))
      (wire/send! half "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
      (is (= 100 (:status (wire/answer half))) "the server has it")
      (is (= {:requests 0 :websockets 0 :cut 2} (patiently (server/server-drain! server {:timeout 300}))))
      (is (= ["first" :truncated] (wire/read-chunks stream)))
      (is (wire/closed? half))
      (.countDown gate))))

(deftest websockets-may-go-on-for-their-grace
  (let [{:keys [port server]} (wire/start #(server/as-channel % {:on-receive (fn [ch message] (server/send! ch message))}) {})]
    (with-open [ws (wire/websocket port)]
      (is (= 101 (:status (wire/read-head ws))))
      (let [start   (System/nanoTime)
            drained (server/server-drain! server {:timeout 60000 :ws-grace 500})]
        (wire/send! ws (byte-array [(unchecked-byte 0x81) (unchecked-byte 0x81) 0 0 0 0 65]))
        (is (= [0x81 1 65] (map #(bit-and 0xff (int %)) (wire/read-exactly ws 3))) "still served")
        (is (= 1001 (close-code ws)))
        (is (<= 450 (quot (- (System/nanoTime) start) 1000000)))
        (is (= {:requests 0 :websockets 1 :cut 0} (patiently drained)))))))

(def ^:private long-message
  "More than the sockets' buffers hold on both sides."
  24000000)

(defn- with-unread-websocket
  "Calls `(f server ws)` with a WebSocket that was sent a long message, of which the peer has read the frame's head,
  and that its handler then `closes?`. Returns the entries of the access log."
  [closes? f]
  (let [message (byte-array long-message)
        entries (atom [])
        sent    (promise)
        open!   (fn [ch]
                  (server/send! ch message)
                  (when closes? (server/close ch))
                  (deliver sent true))
        {:keys [port server]} (wire/start #(server/as-channel % {:on-open open!}) {:access-log #(swap! entries conj %)})]
    (with-open [ws (wire/websocket port)]
      (is (= 101 (:status (wire/read-head ws))))
      (is (= [0x82 127] (map #(bit-and 0xff (int %)) (take 2 (wire/read-exactly ws 10)))))
      (is (true? (patiently sent)))
      (f server ws))
    (is (wire/eventually #(= 1 (count @entries))))
    (map (juxt :end #(< (long (:bytes-out %)) (long long-message))) @entries)))

(deftest a-drain-and-a-stop-let-peers-read-what-their-websockets-were-sent
  (doseq [[end closes? expected] [[server/server-drain! false {:requests 0 :websockets 1 :cut 0}]
                                  [server/server-stop!  false true]
                                  [server/server-stop!  true  true]]]
    (testing [closes? expected]
      (is (= [[:done false]]
             (with-unread-websocket closes?
               (fn [server ws]
                 (let [over (future @(end server {:timeout 60000}))]
                   (is (= :goes-on (deref over 500 :goes-on)) "it waits")
                   (wire/read-exactly ws long-message)
                   (is (= (if closes? 1000 1001) (close-code ws)))
                   (is (wire/closed? ws))
                   (is (= expected (patiently over)))))))))))

(deftest a-websocket-whose-peer-does-not-read-holds-no-drain-and-no-stop-beyond-its-time
  (doseq [closes?        [false true]
          [end expected] [[#(server/server-drain! % {:timeout 300}) {:requests 0 :websockets (if closes? 0 1) :cut 1}]
                          [server/server-stop! true]]]
    (testing [closes? expected]
      (is (= [[:aborted true]]
             (with-unread-websocket closes?
               (fn [server _]
                 (is (= expected (patiently (future @(end server))))))))))))

(defn- read-slowly [conn n]
  (dotimes [_ 50]
    (wire/read-exactly conn (/ (long n) 50))
    (Thread/sleep 10)))

(deftest peers-that-send-while-they-read-get-everything-from-a-server-that-stops
  (let [size 3000000 ; less than the sockets' buffers hold: the kernel has all of it, and the peer does not
        ping (byte-array (map unchecked-byte [0x89 0x80 0 0 0 0]))
        all  (byte-array size)]
    (doseq [[end expected] [[server/server-drain! {:requests 1 :websockets 1 :cut 0}]
                            [server/server-stop!  true]]]
      (let [gate  (CountDownLatch. 1)
            begun (promise)
            {:keys [port server]} (wire/start (fn [{:keys [websocket?] :as req}]
                                                (if websocket?
                                                  (server/as-channel req {:on-open #(server/send! % all)})
                                                  (do (deliver begun true) (.await gate) {:body all})))
                                              {})]
        (with-open [ws   (wire/websocket port)
                    http (wire/connect port)]
          (is (= 101 (:status (wire/read-head ws))))
          (wire/read-exactly ws 10)
          (wire/send! http (wire/get-request "/"))
          (is (true? (patiently begun)))
          (let [over (future @(end server {:timeout 60000}))]
            (is (wire/eventually #(refused? port)))
            (.countDown gate)
            (is (= 200 (:status (wire/read-head http))))
            (let [peers [(future (read-slowly ws size) (close-code ws)) (future (read-slowly http size) :read)]]
              (while (not-every? future-done? peers)
                (wire/send! ws ping)
                (wire/send! http (wire/get-request "/"))
                (Thread/sleep 5))
              (is (= [1001 :read] (map patiently peers))))
            (is (= expected (patiently over)))))))))

(defn- connect-narrowly
  "A connection whose kernel takes 4 KiB, and the rest only as it is read."
  ^Closeable [port]
  (wire/wrap (doto (Socket.)
               (.setReceiveBufferSize 4096)
               (.connect (InetSocketAddress. "127.0.0.1" (int port))))))

(deftest the-last-bytes-reach-a-peer-that-sends-and-reads-them-late
  (let [[most rest-of-it] [25000 15000] ; a stop takes that rest for delivered if its peer is silent
        all (byte-array (+ most rest-of-it))]
    (doseq [[end expected] [[server/server-drain! {:requests 1 :websockets 0 :cut 0}]
                            [server/server-stop!  true]]]
      (let [gate  (CountDownLatch. 1)
            begun (promise)
            read? (promise)
            {:keys [port server]} (wire/start (fn [_] (deliver begun true) (.await gate) {:body all}) {})
            received #(get-in (server/server-stats server) [:bytes :in])]
        (with-open [peer (connect-narrowly port)]
          (wire/send! peer (wire/get-request "/"))
          (is (true? (patiently begun)))
          (let [over (future @(end server {:timeout 60000}))]
            (is (wire/eventually #(refused? port)))
            (.countDown gate)
            (is (= 200 (:status (wire/read-head peer))))
            (let [before (received)
                  sender (future (while (and (= :not-yet (deref read? 5 :not-yet))
                                          (wire/send! peer (wire/get-request "/")))))]
              (is (wire/eventually #(< before (received))))
              (wire/read-exactly peer most)
              (is (= :goes-on (deref over 1000 :goes-on)) "it waits, for longer than for a silent peer")
              (wire/read-exactly peer rest-of-it)
              (deliver read? true)
              (patiently sender))
            (is (= expected (patiently over)))))))))

(deftest a-websocket-that-opens-during-a-stop-is-closed-as-those-before
  (let [[stopping done] (repeatedly #(CountDownLatch. 1))
        running (atom 0)
        {:keys [port server]} (wire/start (fn [{:keys [websocket?] :as req}]
                                            (swap! running inc)
                                            (let [^CountDownLatch gate (if websocket? stopping done)]
                                              (.await gate))
                                            (if websocket? (server/as-channel req {}) {:body "done"}))
                                          {})]
    (with-open [ws   (wire/websocket port)
                busy (wire/connect port)]
      (wire/send! busy (wire/get-request "/"))
      (is (wire/eventually #(= 2 @running)))
      (let [over (future @(server/server-stop! server {:timeout 600000}))]
        (is (wire/eventually #(= :stopping (server/server-status server))))
        (.countDown ^CountDownLatch stopping)
        (is (= 101 (:status (wire/read-head ws))))
        (is (= 1001 (close-code ws)) "though the stop goes on")
        (.countDown ^CountDownLatch done)
        (is (= "done" (:body (wire/answer busy))))
        (is (true? (patiently over)))))))

(deftest a-stop-shortens-a-drain-and-both-promises-are-kept
  (let [gate    (CountDownLatch. 1)
        running (atom 0)
        {:keys [port server]} (wire/start (stream-handler gate running) {})]
    (with-open [stream (wire/connect port)]
      (wire/send! stream (wire/get-request "/stream"))
      (is (= 200 (:status (wire/read-head stream))))
      (let [drained (server/server-drain! server {:timeout 600000})]
        (is (true? (patiently (server/server-stop! server {:timeout 100}))))
        (is (= {:requests 0 :websockets 0 :cut 1} (patiently drained))))
      (.countDown gate))
    (is (nil? (server/server-stop! server)))
    (is (refused? port))))

(deftest a-server-that-does-not-run-is-not-drained
  (let [{:keys [server] :as started} (wire/start (constantly {}) {})]
    (wire/stop started)
    (is (nil? (server/server-drain! server)))
    (is (= :stopped (server/server-status server)))))

(deftest wrong-options-of-a-drain-are-named-and-drain-nothing
  (wire/with-server [{:keys [server warnings]} (constantly {}) {}]
    (is (thrown-with-msg? IllegalArgumentException #":timeout -1: expected an integer from 0"
                          (server/server-drain! server {:timeout -1})))
    (is (thrown-with-msg? ClassCastException #":ws-grace \"1\": expected an integer from 0"
                          (server/server-drain! server {:ws-grace "1"})))
    (is (= :running (server/server-status server)))
    (is (= {:requests 0 :websockets 0 :cut 0} (patiently (server/server-drain! server {:time-out 5}))))
    (is (= [[":time-out is no option of server-drain!; did you mean :timeout?" nil]] @warnings))))

;;;; Under load

(def ^:private linux?
  "Where the kernel can be told to ignore newcomers before the listener ends."
  (= "Linux" (System/getProperty "os.name")))

(deftest drains-under-keep-alive-load-fail-no-request
  (let [over?    (atom false)
        next-one (wire/start (constantly {:body "done"}) {})]
    (try
      (dotimes [round 10]
        (reset! over? false)
        (let [{:keys [port server warnings errors]} (wire/start (fn [_] (Thread/sleep 1) {:body "done"}) {})
              clients (keep-alive/clients 8 [port (:port next-one)] over?)
              counts  (patiently (server/server-drain! server {:timeout 20000}))]
          (reset! over? true)
          (is (= [0 0] ((juxt :websockets :cut) counts)) (str "round " round))
          (doseq [client clients :let [served (patiently client)]]
            (is (every? pos-int? (map (if (map? served) served {}) [port (:port next-one)])) (pr-str round served))
            (when linux? (is (nil? (:reset served)) (pr-str round served))))
          (is (= [[] []] [@warnings @errors]))))
      (finally (wire/stop next-one)))))

(def ^:private nginx-program
  (first (filter #(.canExecute (File. ^String %)) ["/usr/sbin/nginx" "/usr/local/sbin/nginx" "/opt/homebrew/bin/nginx"])))

(deftest a-drain-behind-nginx-fails-no-request
  (if-not nginx-program
    (println "left out: nginx is not on this machine")
    (let [dir    (files/readable-directory)
          front  (wire/free-port)
          second-one (wire/start (constantly {:body "done"}) {})
          over?  (atom false)
          run    (fn [port] (wire/start (fn [_] (Thread/sleep 1) {:body "done"}) {:port port}))
          first-one (run 0)
          _      (spit (io/file dir "nginx.conf") (nginx/proxy-config dir front [(:port first-one) (:port second-one)] :keepalive 32))
          proxy  (-> (ProcessBuilder. ^"[Ljava.lang.String;" (into-array String [nginx-program "-p" (str dir) "-c" (str (io/file dir "nginx.conf"))]))
                     (.redirectErrorStream true)
                     (.redirectOutput (File. "/dev/null"))
                     (.start))]
      (try
        (is (wire/eventually #(not (refused? front))))
        (let [clients (keep-alive/clients 8 [front] over?)]
          (loop [round 0, started first-one]
            (Thread/sleep 100)
            (let [counts (patiently (server/server-drain! (:server started) {:timeout 20000}))]
              (is (= 0 (:cut counts)) (str "round " round)))
            (when (< round 4)
              (recur (inc round) (run (:port first-one)))))
          (reset! over? true)
          (doseq [client clients :let [served (patiently client)]]
            (is (= [front] (keys served)) (pr-str served))))
        (finally
          (reset! over? true)
          (.destroy proxy)
          (.waitFor proxy 10 TimeUnit/SECONDS)
          (wire/stop second-one))))))

;;;; When the JVM shuts down

(def ^:private draining-program
  "(require '[org.httpkit.server :as server])
   (let [s (server/run-server (fn [_] (println :running) (Thread/sleep 1500) {:body \"done\"})
             {:ip \"127.0.0.1\" :port 0 :legacy-return-value? false :stop-on-shutdown? true})]
     (println :port (server/server-port s)))")

(defn- line-with
  "The next line that begins with `prefix`; nil at the end."
  [^BufferedReader out prefix]
  (loop []
    (let [line (.readLine out)]
      (cond (nil? line) nil
            (str/starts-with? line prefix) line
            :else (recur)))))

(defn- with-program
  "Runs a program that prints its server's port; calls `(f process out port)`."
  [program f]
  (let [process (subprocess/start program)]
    (try
      (let [out (io/reader (.getInputStream process))]
        (f process out (Long/parseLong (last (str/split (str (line-with out ":port")) #" ")))))
      (finally (.destroyForcibly process)))))

(deftest a-server-drains-when-the-jvm-shuts-down
  (with-program draining-program
    (fn [^Process process out port]
      (with-open [conn (wire/connect port)]
        (wire/send! conn (wire/get-request "/"))
        (is (= ":running" (line-with out ":running")))
        (.destroy process)
        (is (= [200 "done" "Close"]
               ((juxt :status :body #(get-in % [:headers "connection"])) (wire/answer conn))))
        (is (wire/closed? conn)))
      (is (.waitFor process 60 TimeUnit/SECONDS)))))

(defn- holding-program
  "Its handler blocks, or keeps its response to /held open; `then` are forms behind the start of the server `s`."
  [options then]
  (str "(require '[org.httpkit.server :as server])
        (let [s (server/run-server
                  (fn [req]
                    (println :running)
                    (if (= \"/held\" (:uri req))
                      (server/as-channel req {:on-open (fn [ch] (server/send! ch \"first\" false))})
                      (Thread/sleep 600000)))
                  (merge {:ip \"127.0.0.1\" :port 0 :legacy-return-value? false
                          :stop-on-shutdown? true :shutdown-timeout 500} " (pr-str options) "))]
          (println :port (server/server-port s)) " then " @(promise))"))

(def ^:private pool-that-blocks-a-stop
  '(proxy [java.util.concurrent.ThreadPoolExecutor]
          [1 1 0 java.util.concurrent.TimeUnit/SECONDS (java.util.concurrent.LinkedBlockingQueue.)]
     (shutdown [] (Thread/sleep 600000))))

(deftest the-jvm-ends-in-time-though-a-stop-with-more-time-is-under-way
  (->> [[{} "(do (future (server/server-stop! s {:timeout 600000}))
                 (while (not= :stopping (server/server-status s)) (Thread/sleep 5)))"]
        [{} "(server/server-drain! s {:timeout 600000})"]
        [{:worker-pool pool-that-blocks-a-stop} "(server/server-drain! s {:timeout 600000})"]]
       (mapv (fn [[options stop]] ; each takes the 8 s of a shutdown
               (future
                 (with-program (holding-program options (str "(read-line)" stop "(println :under-way)"))
                   (fn [^Process process out port]
                     (with-open [conn (wire/connect port)]
                       (wire/send! conn (wire/get-request "/"))
                       (is (= ":running" (line-with out ":running")))
                       (.write (.getOutputStream process) 10)
                       (.flush (.getOutputStream process))
                       (is (= ":under-way" (line-with out ":under-way")))
                       (.destroy process)
                       (is (.waitFor process 60 TimeUnit/SECONDS) [options stop])))))))
       (run! deref)))

(deftest what-the-end-of-the-jvm-cuts-is-in-the-access-log
  (let [file (doto (File/createTempFile "access" ".log") .deleteOnExit)]
    (with-program (holding-program {:access-log (str file)} "")
      (fn [^Process process _ port]
        (with-open [conn (wire/connect port)]
          (wire/send! conn (wire/get-request "/held"))
          (is (= 200 (:status (wire/read-head conn))))
          (.destroy process)
          (is (.waitFor process 60 TimeUnit/SECONDS)))
        (is (re-find #"\"GET /held HTTP/1.1\" 200 " (slurp file)))))))

(defn- stopped-server
  "A weak reference to a server that had a hook and is stopped."
  []
  (let [started (wire/start (constantly {:body "x"}) {:stop-on-shutdown? true :shutdown-timeout 1})]
    (is (= "x" (:body (wire/fetch (:port started) "/"))))
    (is (true? (wire/stop started)))
    (WeakReference. (:server started))))

(deftest a-stopped-server-leaves-no-hook-that-would-keep-it
  (let [^WeakReference server (stopped-server)]
    (is (wire/eventually #(do (System/gc) (nil? (.get server)))))))
