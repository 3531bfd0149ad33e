(ns httpkit.client-scarcity-test
  "Every request has its end, also in a JVM that has no memory, no threads or no standard error left."
  (:require [clojure.edn          :as edn]
            [clojure.string       :as str]
            [clojure.test         :refer [deftest is testing]]
            [httpkit.client-peer  :as peer]
            [httpkit.subprocess   :as subprocess])
  (:import [java.io File IOException]
           [java.net InetAddress ServerSocket]
           [java.util.concurrent CountDownLatch TimeUnit]
           [org.httpkit.jni NativeLibrary]))

(set! *warn-on-reflection* true)

(defn- listen
  "Collects what the process writes, and delivers :told at the first byte of `scarcity/tell-test!`."
  [^Process process]
  (let [said (StringBuffer.)
        told (promise)]
    {:process process, :said said, :told told
     :over (future (loop []
                     (let [b (.read (.getInputStream process))]
                       (when-not (neg? b)
                         (.append said (char b))
                         (when (= b 33) (deliver told :told))
                         (recur))))
                   (.waitFor process))}))

(defn- start-jvm
  "Starts a JVM that runs `script` with `client`, `scarcity` and `url`. `java` is another command than ours."
  [port jvm-args script & {:keys [java]}]
  (listen (subprocess/start
           (pr-str (list 'do
                         '(require '[httpkit.scarcity :as scarcity] '[org.httpkit.client :as client])
                         (list 'let ['url (str "http://127.0.0.1:" port "/")] script)
                         '(flush)
                         '(System/exit 0)))
           :java     java
           :jvm-args (into ["-XX:+UseSerialGC" "--enable-native-access=ALL-UNNAMED" "-Xlog:disable"
                            ;; Not unpacked again: a debug build is half as big as such a heap.
                            (str "-Dhttp-kit.native.path=" (get (NativeLibrary/info) "file"))]
                           jvm-args))))

(defn- await-jvm! [{:keys [told said]}]
  (is (= :told (deref told 300000 (str "the JVM has not said a word: " said)))))

(defn- tell-jvm! [{:keys [^Process process said]}]
  (try (doto (.getOutputStream process) (.write 33) (.flush))
       (catch IOException e (is (nil? e) (str "the JVM has ended: " said)))))

(defn- last-line
  "What the JVM printed last before it ended."
  [{:keys [over said]}]
  (let [exit (deref over 300000 :late)]
    (try (edn/read-string (str/replace (last (str/split-lines (str said))) "!" ""))
         (catch RuntimeException _ {:exit exit :said (str said)}))))

(def ^:private ok "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ")

(defn- ending-in-many-ways
  "Serves one request a connection once `go` is delivered; `ended` counts the connections that are over."
  [^CountDownLatch arrived go ^CountDownLatch ended]
  (fn [{:keys [index] :as conn}]
    (peer/read-request! conn)
    (.countDown arrived)
    @go
    (case (int (mod index 5))
      0 (peer/send! conn ok "2\r\n\r\nok")
      1 (peer/close! conn)
      2 (do (peer/send! conn ok "200000\r\n\r\n") (peer/send-bytes! conn (byte-array 200000)))
      3 (do (peer/send! conn ok "9\r\n\r\nabc") (peer/close! conn))
      4 (peer/send! conn "garbage\r\n\r\n"))
    (when-not (.isClosed ^java.net.Socket (:socket conn))
      (peer/await-end! conn))
    (.countDown ended)))

(deftest requests-that-end-while-the-heap-is-full-lose-no-end
  (let [n       100
        arrived (CountDownLatch. n)
        some-ended (CountDownLatch. (quot n 3))
        go      (promise)]
    (peer/with-peer [p (ending-in-many-ways arrived go some-ended)]
      (let [process (start-jvm (:port p) ["-Xmx48m"]
                         '(let [called  (atom 0)
                                logged  (atom 0)
                                c       (client/make-client {:error-logger (fn [_ ex] (swap! logged inc) (throw ex))})
                                results (vec (for [i (range 100)]
                                               (client/get url
                                                 {:client c :as ([:auto :stream :byte-array :text] (mod i 4))
                                                  :filter (if (zero? (mod i 3))
                                                            (client/max-body-filter 1000000)
                                                            org.httpkit.client.IFilter/ACCEPT_ALL)
                                                  :timeout 600000}
                                                 (when (even? i) (fn [{:keys [status]}] (swap! called inc) {:called status})))))]
                            (scarcity/await-test!)
                            (scarcity/with-full-heap)
                            (let [values (mapv #(deref % 20000 :lost) results)]
                              ;; What the JVM began to tell of an exception, and had no memory to end, has no end of line.
                              (println)
                              (prn {:lost   (count (filter #{:lost} values))
                                    :called @called
                                    :after  (:error @(client/get url {:client c :timeout 5000}))
                                    :left   (loop [n 0]
                                              (let [left [(:active (client/client-stats c))
                                                          (org.httpkit.jni.ClientUpcalls/liveCalls)]]
                                                (if (or (= [0 0] left) (> n 1000))
                                                  left
                                                  (do (Thread/sleep 10) (recur (inc n))))))
                                    :kinds  (frequencies (map #(or (some-> (:error %) class str) (keys %)) values))}))))]
        (try
          (is (.await arrived 60 TimeUnit/SECONDS))
          (tell-jvm! process)
          (await-jvm! process)
          (deliver go true)
          (is (.await some-ended 60 TimeUnit/SECONDS) "the loop is alive, and closes connections")
          (tell-jvm! process)
          (let [{:keys [lost called after left] :as all} (last-line process)]
            (is (= [0 50 nil [0 0]] [lost called after left]) (pr-str all)))
          (finally (.destroyForcibly ^Process (:process process))))))))

(deftest a-body-that-native-memory-has-no-room-for-fails-its-call-alone
  (peer/with-peer [p (peer/answering (constantly "ok"))]
    (let [process (start-jvm (:port p) ["-Xms700m" "-Xmx700m"]
                             '(let [body   (byte-array (* 300 1024 1024))
                                    before (:status @(client/get url))
                                    failed (scarcity/with-room (* 100 1024 1024)
                                             (fn [] (:error @(client/post url {:body body}))))]
                                (prn {:error (ex-message failed), :status [before (:status @(client/get url))]})))]
      (try
        (is (= {:error "no native memory for a copy of 314572800 bytes", :status [200 200]}
               (last-line process)))
        (finally (.destroyForcibly ^Process (:process process)))))))

(defn- deaf-java
  "A command that runs Java with a standard error that nothing reads any more."
  []
  (let [script (doto (File/createTempFile "deaf" ".sh") (.deleteOnExit))]
    (spit script (str "#!/bin/sh\nexec 3>&1\n{ " subprocess/java-command " \"$@\" 2>&1 >&3 3>&- | true; }\n"))
    (.setExecutable script true)
    (str script)))

(deftest a-response-that-does-not-fit-into-the-heap-fails-where-nothing-reads-standard-error
  (let [n (* 60 1024 1024)]
    (peer/with-peer [p (fn [conn]
                         (while (peer/read-request! conn)
                           (if (odd? (count (swap! (:requests conn) conj :one)))
                             (do (peer/send! conn "HTTP/1.1 200 OK\r\nContent-Length: " n "\r\n\r\n")
                                 (dotimes [_ (quot n 65536)] (peer/send-bytes! conn (byte-array 65536))))
                             (peer/respond! conn "ok"))))]
      (let [jvm (start-jvm (:port p) ["-Xmx48m"]
                           '(let [get #(deref (client/get url {:as :byte-array :max-response-bytes 100000000}) 30000 :lost)
                                  [large small] [(get) (get)]]
                              (prn {:large (str (class (:error large))) :small (:status small)}))
                           :java (deaf-java))]
        (is (= {:large "class java.lang.RuntimeException" :small 200} (last-line jvm)))))))

(deftest transports-survive-that-no-thread-can-be-started
  (let [loopback #(InetAddress/getByName (str "127.0.0." %))
        hosts    (doto (File/createTempFile "hosts" ".txt") (.deleteOnExit))]
    ;; The second address answers; the first one belongs to the JVM, which lets connects wait there, then refuses them.
    (spit hosts "127.0.0.1 two.test\n127.0.0.2 two.test\n")
    (peer/with-peer [p (peer/answering (constantly "ok")) :server (ServerSocket. 0 50 (loopback 2))]
      (let [jvm (start-jvm (:port p) ["-Xss64m" "-Xmx256m" (str "-Djdk.net.hosts.file=" hosts)]
                           '(let [port    (.getPort (java.net.URI. url))
                                  url     (str "http://two.test:" port "/")
                                  full    (java.net.ServerSocket. port 1 (java.net.InetAddress/getByName "127.0.0.1"))
                                  fillers (vec (repeatedly 8 #(doto (java.nio.channels.SocketChannel/open)
                                                                (.configureBlocking false)
                                                                (.connect (.getLocalSocketAddress full)))))
                                  busy    (java.util.concurrent.CountDownLatch. 1)
                                  block?  (atom false)
                                  made    (atom [])
                                  c       (client/make-client {:channel-factory
                                                               (fn [_]
                                                                 (when @block? (.await busy))
                                                                 (peek (swap! made conj (java.nio.channels.SocketChannel/open))))
                                                               :error-logger (fn [_ ex] (throw ex))})
                                  pool    (doto (java.util.concurrent.Executors/newFixedThreadPool 2) .prestartAllCoreThreads)
                                  get     #(client/get url {:client c :timeout 20000 :worker-pool pool})
                                  error   #(class (:error (deref % 30000 {:error :lost})))
                                  waiting (get)]
                              (while (not-any? #(.isConnectionPending ^java.nio.channels.SocketChannel %) @made) (Thread/sleep 5))
                              (reset! block? true)
                              (let [[refused at-once]
                                    (scarcity/with-no-threads
                                      (fn []
                                        ;; Until the threads that there are all wait in the channel factory.
                                        (let [at-once (first (drop-while nil? (repeatedly #(:error (deref (get) 500 {})))))]
                                          (run! #(.close ^java.nio.channels.SocketChannel %) fillers)
                                          (.close full)
                                          [(error waiting) (class at-once)])))]
                                (.countDown busy)
                                (reset! block? false)
                                (prn {:refused (str refused) :at-once (str at-once) :after (:status (deref (get) 30000 :lost))}))))]
        (is (= {:refused "class java.lang.OutOfMemoryError" :at-once "class java.lang.OutOfMemoryError" :after 200}
               (last-line jvm)))))))

(deftest a-client-that-is-made-in-the-worst-moment-works-later
  (peer/with-peer [p (peer/answering (constantly "ok"))]
    (let [jvm (start-jvm (:port p) ["-Xss64m" "-Xmx256m"]
                         '(let [quiet    {:error-logger (fn [_ _])}
                                attempt  (fn [c] (select-keys @(client/get url {:client c :timeout 5000}) [:status :error]))
                                class-of #(update % :error (comp str class))
                                _        (attempt (client/make-client quiet)) ; loads classes
                                pool     (doto (java.util.concurrent.Executors/newFixedThreadPool 2) .prestartAllCoreThreads)
                                attempt  (fn [c] (let [r @(client/get url {:client c :timeout 5000 :worker-pool pool})]
                                                   (or (:status r) (str (class (:error r))))))
                                worst    (fn [scarce]
                                           (let [[c at-once] (scarce #(let [c (client/make-client quiet)] [c (attempt c)]))]
                                             [at-once (attempt c) (client/client-stop! c)]))]
                            (prn {:no-threads     (worst scarcity/with-no-threads)
                                  :no-descriptors (worst scarcity/with-no-descriptors)
                                  :unused         (client/client-stop! (scarcity/with-no-threads #(client/make-client quiet)))
                                  :handles        (org.httpkit.jni.Native/liveHandles)})))]
      (is (= {:no-threads     ["class java.lang.OutOfMemoryError" 200 nil]
              :no-descriptors ["class java.io.IOException" 200 nil]
              :unused         nil
              :handles        1}
             (last-line jvm))))))
