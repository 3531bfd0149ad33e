(ns httpkit.options-test
  "Every option of run-server changes what it says, seen from outside. Worker pools: workers-test."
  (:require [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server])
  (:import (java.io File)
           (java.net InetAddress InetSocketAddress Socket SocketAddress StandardSocketOptions)
           (java.nio.channels ServerSocketChannel SocketChannel)
           (java.nio.file Files)
           (java.nio.file.attribute FileAttribute)
           (org.httpkit.logger EventNames)
           (org.httpkit.server HttpServer HttpServer$AddressFinder HttpServer$ServerChannelFactory)))

(set! *warn-on-reflection* true)

(defn- ok [_] {:status 200 :body "ok"})

(defn- post [path body]
  (str "POST " path " HTTP/1.1\r\nHost: h\r\nContent-Length: " (count body) "\r\n\r\n" body))

(defn- status [port text] (let [answer (wire/fetch port text)] (:status answer answer)))

(def ^:private ipv6?
  (delay (try (with-open [_ (java.net.ServerSocket. 0 1 (InetAddress/getByName "::1"))] true)
              (catch java.io.IOException _ false))))

;; Where it listens

(deftest the-default-address-takes-both-ip-versions
  (wire/with-server [{:keys [port]} (fn [req] {:body (:remote-addr req)}) {:ip "0.0.0.0"}]
    (is (= "127.0.0.1" (:body (wire/fetch port "/"))))
    (when @ipv6?
      (with-open [conn (wire/connect "::1" port)]
        (wire/send! conn (wire/get-request "/"))
        (is (= "0:0:0:0:0:0:0:1" (:body (wire/answer conn))))))))

(deftest a-given-address-takes-only-its-own
  (wire/with-server [{:keys [port]} ok {:ip "127.0.0.2"}]
    (with-open [conn (wire/connect "127.0.0.2" port)]
      (wire/send! conn (wire/get-request "/"))
      (is (= 200 (:status (wire/answer conn)))))
    (is (thrown? java.net.ConnectException (wire/connect "127.0.0.1" port)))))

(deftest an-ipv6-address
  (when @ipv6?
    (wire/with-server [{:keys [port]} ok {:ip "::1"}]
      (with-open [conn (wire/connect "::1" port)]
        (wire/send! conn (wire/get-request "/"))
        (is (= 200 (:status (wire/answer conn)))))
      (is (thrown? java.net.ConnectException (wire/connect "127.0.0.1" port))))))

(deftest a-host-name-as-address
  (wire/with-server [{:keys [port]} ok {:ip "localhost"}]
    (is (pos? port))))

(deftest the-default-port-is-8090
  (let [taken? (try (.close (java.net.ServerSocket. 8090)) false (catch java.io.IOException _ true))]
    (when-not taken?
      (let [server (server/run-server ok {:legacy-return-value? false})]
        (try (is (= 8090 (server/server-port server)))
             (is (= 200 (status 8090 "/")))
             (finally @(server/server-stop! server)))))))

(deftest a-port-in-use-is-a-bind-exception
  (wire/with-server [{:keys [port]} ok {}]
    (is (thrown? java.net.BindException (wire/start ok {:port port})))
    (is (= 200 (status port "/")) "the first one goes on")))

(deftest an-address-of-another-machine-is-a-bind-exception
  (is (thrown? java.net.BindException (wire/start ok {:ip "192.0.2.1"}))))

;; Limits

(deftest max-body-counts-bytes-of-either-framing
  (wire/with-server [{:keys [port events]} (fn [req] {:body (str (:content-length req))}) {:max-body 10}]
    (is (= 200 (status port (post "/" "0123456789"))))
    (is (= 413 (status port (post "/" "0123456789a"))))
    (let [chunked #(str "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" %)]
      (is (= 200 (status port (chunked "5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n"))))
      (is (= 413 (status port (chunked "5\r\n01234\r\n6\r\n56789a\r\n0\r\n\r\n")))))
    (is (wire/eventually #(= 2 (count (filter #{"httpkit.server.status.413"} @events)))))))

(deftest max-line-counts-one-line
  (wire/with-server [{:keys [port events]} ok {:max-line 100}]
    (let [path (fn [line-length] (str "/" (apply str (repeat (- line-length (count "GET / HTTP/1.1")) \a))))]
      (is (= 200 (status port (wire/get-request (path 98)))))
      (is (= 414 (status port (wire/get-request (path 99)))))
      (is (= 431 (status port (wire/get-request "/" ["X" (apply str (repeat 200 \a))])))
          "a header line")
      (is (wire/eventually #(= {"httpkit.server.status.414" 1, "httpkit.server.status.processed.431" 1}
                               (frequencies (filter (fn [event] (re-find #"414|431" event)) @events))))))))

(deftest all-lines-together-are-bounded
  (wire/with-server [{:keys [port events]} ok {}]
    (is (= 431 (status port (apply wire/get-request "/" (repeat 20 ["X" (apply str (repeat 4000 \a))])))))
    (is (wire/eventually #(some #{"httpkit.server.status.processed.431"} @events)))))

(deftest max-ws-counts-a-reassembled-message
  (let [closed (promise)]
    (wire/with-server [{:keys [port]}
                       (fn [req] (server/as-channel req {:on-close (fn [_ status] (deliver closed status))}))
                       {:max-ws 10}]
      (with-open [conn (wire/connect port)]
        (wire/send! conn (wire/get-request "/" ["Upgrade" "websocket"] ["Connection" "Upgrade"]
                                           ["Sec-WebSocket-Version" "13"]
                                           ["Sec-WebSocket-Key" "dGhlIHNhbXBsZSBub25jZQ=="]))
        (is (= 101 (:status (wire/read-head conn))))
        (wire/send! conn (byte-array (concat [0x82 0x8b 0 0 0 0] (repeat 11 1))))
        (is (= [0x88 0x02 1009] [(wire/read-byte conn) (wire/read-byte conn)
                                 (+ (* 256 (wire/read-byte conn)) (wire/read-byte conn))]))
        (is (= :message-too-big (deref closed wire/patience-ms :never)))))))

;; What answers look like

(deftest server-header
  (doseq [[options expected] [[{} "http-kit"] [{:server-header "mine/1.0"} "mine/1.0"] [{:server-header nil} nil]]]
    (wire/with-server [{:keys [port]} ok options]
      (doseq [request ["/" "BAD\r\n\r\n"]]
        (is (= expected (get-in (wire/fetch port request) [:headers "server"])) [options request])))))

(deftest legacy-content-length
  (let [head "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"
        length (fn [options]
                 (wire/with-server [{:keys [port]} (constantly {:headers {"Content-Length" "77"} :body "four"}) options]
                   (with-open [conn (wire/connect port)]
                     (wire/send! conn head)
                     (get-in (wire/answer conn :head? true) [:headers "content-length"]))))]
    (is (= "4" (length {})))
    (is (= "4" (length {:legacy-content-length? true})))
    (is (= "77" (length {:legacy-content-length? false})))))

(deftest legacy-unsafe-remote-addr
  (let [request (wire/get-request "/" ["X-Forwarded-For" "1.2.3.4"])
        address (fn [options]
                  (wire/with-server [{:keys [port]} (fn [req] {:body (:remote-addr req)}) options]
                    (:body (wire/fetch port request))))]
    (is (= "1.2.3.4" (address {})))
    (is (= "127.0.0.1" (address {:legacy-unsafe-remote-addr? false})))))

(deftest proxy-protocol
  (let [handler (fn [req] {:body (pr-str [(:remote-addr req) (get-in req [:headers "x-forwarded-for"])])})
        line    "PROXY TCP4 1.2.3.4 5.6.7.8 1000 443\r\n"
        ask     (fn [options text]
                  (wire/with-server [{:keys [port]} handler options]
                    ((juxt :status :body) (wire/fetch port text))))
        with    (str line (wire/get-request "/"))
        without (wire/get-request "/")]
    (is (= 400 (first (ask {} with))))
    (is (= 400 (first (ask {:proxy-protocol :disable} with))))
    (is (= 400 (first (ask {:proxy-protocol :enable} without))))
    (doseq [mode [:enable :optional]]
      (is (= [200 "[\"1.2.3.4\" \"1.2.3.4\"]"] (ask {:proxy-protocol mode :legacy-unsafe-remote-addr? false} with))))
    (is (= [200 "[\"127.0.0.1\" nil]"] (ask {:proxy-protocol :optional} without)))))

(deftest ring-async
  (wire/with-server [{:keys [port]} (fn ([_] {:body "sync"}) ([_ respond _] (respond {:body "async"}))) {:ring-async? true}]
    (is (= "async" (:body (wire/fetch port "/")))))
  (wire/with-server [{:keys [port]} (fn ([_] {:body "sync"}) ([_ respond _] (respond {:body "async"}))) {}]
    (is (= "sync" (:body (wire/fetch port "/"))))))

;; What is returned

(deftest return-values
  (testing "a function with metadata"
    (let [stop (server/run-server ok {:port 0 :ip "127.0.0.1"})
          {:keys [local-port server]} (meta stop)]
      (is (= 200 (status local-port "/")))
      (is (instance? HttpServer server))
      (is (= local-port (server/server-port server)))
      (is (= [nil nil nil] [(stop :timeout 10) (stop) (stop :timeout 10)]))
      (is (wire/eventually #(= :stopped (server/server-status server))))))
  (testing "the server"
    (doseq [value [false nil]]
      (let [server (server/run-server ok {:port 0 :ip "127.0.0.1" :legacy-return-value? value})]
        (is (instance? HttpServer server))
        (is (= :running (server/server-status server)))
        (is (true? (deref (server/server-stop! server) wire/patience-ms :late)))))))

;; Loggers

(deftest the-error-logger-hears-of-failing-handlers
  (wire/with-server [{:keys [port errors]} (fn [_] (throw (ex-info "boom" {:a 1}))) {}]
    (is (= 500 (status port "/x?y")))
    (let [[[message throwable] & more] @errors]
      (is (= ["GET /x" {:a 1} nil] [message (ex-data throwable) more])))))

(deftest default-loggers-print-to-stderr
  (let [err  System/err
        text (java.io.ByteArrayOutputStream.)]
    (System/setErr (java.io.PrintStream. text true))
    (try
      (let [stop (server/run-server (fn [_] (throw (ex-info "boom" {}))) {:port 0 :ip "127.0.0.1"})]
        (is (= 500 (status (:local-port (meta stop)) "/x")))
        (is (wire/eventually #(re-find #"\[.*\] ERROR - GET /x\n.*ExceptionInfo: boom" (str text))))
        (stop))
      (finally (System/setErr err)))))

(deftest events-have-their-default-names
  (wire/with-server [{:keys [port events]}
                     (fn [{:keys [uri]}]
                       (case uri "/nil" nil "/throw" (throw (Exception.)) {:status (Long/parseLong (subs uri 1))}))
                     {}]
    (doseq [path ["/200" "/204" "/418" "/nil" "/throw"]] (wire/fetch port path))
    (wire/fetch port "BAD\r\n\r\n")
    (is (= ["httpkit.server.status.processed.200" "httpkit.server.status.processed.204"
            "httpkit.server.status.processed.418" "httpkit.server.status.404" "httpkit.server.status.500"]
           @events)
        "and none for a 400")))

(deftest events-take-other-names
  (let [names {"serverStatusPrefix" "mine." "serverStatus404" "gone"}]
    (doseq [event-names [names (EventNames. names)]]
      (wire/with-server [{:keys [port events]} (fn [{:keys [uri]}] (when (= "/" uri) {})) {:event-names event-names}]
        (doseq [path ["/" "/none"]] (wire/fetch port path))
        (is (= ["mine.200" "gone"] @events))))))

;; Addresses and channels of one's own

(deftest finder-and-factory-are-called-once-each-in-order
  (let [calls   (atom [])
        address (InetSocketAddress. "127.0.0.1" 0)
        channel (atom nil)]
    (wire/with-server [{:keys [port]} ok
                       {:ip "203.0.113.1" :port 1
                        :address-finder  (fn [] (swap! calls conj :finder) address)
                        :channel-factory (fn [a]
                                           (swap! calls conj [:factory a])
                                           (reset! channel (doto (ServerSocketChannel/open)
                                                             (.setOption StandardSocketOptions/SO_RCVBUF (Integer/valueOf 65536)))))}]
      (is (= [:finder [:factory address]] @calls))
      (is (= 200 (status port "/")))
      (is (not (.isOpen ^ServerSocketChannel @channel)) "its options were taken over, and it was closed"))))

(deftest finder-and-factory-may-be-java-objects
  (let [calls (atom [])]
    (wire/with-server [{:keys [port]} ok
                       {:address-finder  (reify HttpServer$AddressFinder
                                           (findAddress [_] (swap! calls conj :finder) (InetSocketAddress. "127.0.0.1" 0)))
                        :channel-factory (reify HttpServer$ServerChannelFactory
                                           (createChannel [_ _] (swap! calls conj :factory) (ServerSocketChannel/open)))}]
      (is (= [:finder :factory] @calls))
      (is (= 200 (status port "/"))))))

(deftest addresses-that-cannot-be-bound-are-refused
  (is (thrown? IllegalArgumentException (wire/start ok {:address-finder (fn [] (proxy [SocketAddress] []))})))
  (is (thrown? IllegalArgumentException (wire/start ok {:address-finder (fn [] nil)})))
  (is (thrown-with-msg? IllegalStateException #"mine" (wire/start ok {:address-finder #(throw (IllegalStateException. "mine"))})))
  (is (thrown-with-msg? java.io.IOException #"mine"
                        (wire/start ok {:port 0 :channel-factory (fn [_] (throw (java.io.IOException. "mine")))}))))

(deftest so-reuseport-of-a-factory-counts
  (let [options (fn [port] {:port port
                            :channel-factory (fn [_] (doto (ServerSocketChannel/open)
                                                       (.setOption StandardSocketOptions/SO_REUSEPORT true)))})]
    (wire/with-server [{:keys [port]} ok (options 0)]
      (wire/with-server [second-server ok (options port)]
        (is (= port (:port second-server)))
        (is (= 200 (status port "/")))))))

;; Unix domain sockets

(def ^:private unix-address-of
  (try (.getMethod (Class/forName "java.net.UnixDomainSocketAddress") "of" (into-array Class [String]))
       (catch ClassNotFoundException _ nil)))

(defn- unix-address ^SocketAddress [^File path]
  (.invoke ^java.lang.reflect.Method unix-address-of nil (object-array [(str path)])))

(defn- unix-conn [^File path]
  (let [channel (SocketChannel/open (unix-address path))]
    {:channel channel
     :in  (java.io.BufferedInputStream. (java.nio.channels.Channels/newInputStream channel))
     :out (java.nio.channels.Channels/newOutputStream channel)}))

(when unix-address-of
  (deftest unix-domain-sockets-are-served
    (let [dir     (.toFile (Files/createTempDirectory "uds" (make-array FileAttribute 0)))
          path    (File. ^File dir "s\u00f6cket")
          unix    (Enum/valueOf java.net.StandardProtocolFamily "UNIX")
          open    (.getMethod ServerSocketChannel "open" (into-array Class [java.net.ProtocolFamily]))
          options {:address-finder  #(unix-address path)
                   :channel-factory (fn [_] (.invoke open nil (object-array [unix])))}
          handler (fn [{:keys [uri async-channel] :as req}]
                    (case uri
                      "/addr" {:body (pr-str (:remote-addr req))}
                      "/str"  {:body (str "a string: " async-channel)}
                      "/echo" {:body (:body req)}
                      "/stream" (server/as-channel req {:on-open (fn [ch] (dotimes [i 3] (server/send! ch (str i) false))
                                                                   (server/close ch))})))]
      (wire/with-server [{:keys [port server]} handler options]
        (is (= -1 port (server/server-port server)))
        (let [{:keys [channel] :as conn} (unix-conn path)
              ask (fn [text] (wire/send! conn text) (wire/answer conn))]
          (is (= "nil" (:body (ask (wire/get-request "/addr")))))
          (is (= "\"9.9.9.9\"" (:body (ask (wire/get-request "/addr" ["X-Forwarded-For" "9.9.9.9"])))))
          (let [{:keys [status body]} (ask (wire/get-request "/str"))]
            (is (= 200 status))
            (is (str/starts-with? body "a string: ")))
          (is (= "012" (:body (ask (wire/get-request "/stream")))))
          (let [big (apply str (repeat 1000000 \x))]
            (is (= big (:body (ask (post "/echo" big))))))
          (.close ^SocketChannel channel))
        (testing "a second server on the same path"
          (is (thrown? java.net.BindException (wire/start handler options)))))
      (is (.exists path) "the file stays")
      (testing "and so does the problem, until the file is deleted"
        (is (thrown? java.net.BindException (wire/start handler options)))
        (.delete path)
        (wire/with-server [_ handler options]
          (is (.exists path)))))))

(defn- three-chunks
  "Answers with three small writes, from a thread that gathers nothing."
  [req]
  (server/as-channel req {:on-open (fn [ch]
                                     (future
                                       (dotimes [_ 3] (server/send! ch "x" false))
                                       (server/close ch)))}))

(deftest small-writes-are-not-held-back
  ;; With Nagle's algorithm each answer takes the 40 ms of a delayed acknowledgement, once the kernel's
  ;; quick acknowledgements of a new connection are used up.
  (wire/with-server [{:keys [port]} three-chunks {}]
    (with-open [conn (wire/connect port)]
      (let [round  (fn []
                     (let [start (System/nanoTime)]
                       (wire/send! conn (wire/get-request "/"))
                       (is (= "xxx" (:body (wire/answer conn))))
                       (/ (- (System/nanoTime) start) 1e6)))
            rounds (doall (repeatedly 40 round))]
        (is (< (apply min (drop 20 rounds)) 30))))))

(deftest backlog-is-checked-and-used
  (is (thrown? IllegalArgumentException (wire/start ok {:backlog 0})))
  (wire/with-server [{:keys [port]} ok {:backlog 1}]
    (is (= 200 (status port "/")))))

(deftest io-threads-are-checked
  (is (thrown? IllegalArgumentException (wire/start ok {:io-threads 0}))))
