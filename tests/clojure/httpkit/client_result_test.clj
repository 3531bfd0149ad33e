(ns httpkit.client-result-test
  "What a request returns: promise, callback, guard, Future; and its times."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [httpkit.client-peer :as peer]
            [org.httpkit.client :as client])
  (:import [clojure.lang IBlockingDeref IDeref IPending]
           [java.io ByteArrayOutputStream InputStream IOException PrintStream]
           [java.net ConnectException ServerSocket SocketException URI UnknownHostException]
           [java.util.concurrent CancellationException ExecutorService Executors Future RejectedExecutionException
            TimeUnit]
           [java.util.zip GZIPOutputStream]
           [org.httpkit ProtocolException]
           [org.httpkit.client AbortException HttpClient IFilter IFilter$MaxBodyFilter TimeoutException]
           [org.httpkit.jni ClientUpcalls]))

(def ^:private ok (peer/answering (constantly "ok")))

(defn- hanging [conn]
  (peer/read-request! conn)
  (peer/await-end! conn))

(defn- dead-port []
  (with-open [s (ServerSocket. 0)] (.getLocalPort s)))

(deftest the-response-map
  (peer/with-peer [p (peer/answering
                      (constantly "HTTP/1.1 404 NF\r\nX-B: 1\r\nSet-Cookie: a\r\nset-cookie: b\r\nContent-Length: 2\r\n\r\nno"))]
    (let [opts {:url (:url p) :my-key 1 :query-params {:a 1}}
          {:keys [status headers body] :as response} @(client/request opts nil)]
      (is (= #{:opts :status :headers :body} (set (keys response))))
      (is (instance? Integer status))
      (is (= 404 status))
      (is (= "no" body))
      (is (= {:content-length "2" :set-cookie "a\nb" :x-b "1"} headers))
      (is (= [:content-length :set-cookie :x-b] (keys headers)) "few headers come sorted")
      (is (= opts (:opts response)))
      (is (nil? (meta (:opts response)))))))

(deftest the-callbacks-value-is-the-result
  (peer/with-peer [p ok]
    (let [calls (atom 0)]
      (is (= 200 @(client/get (:url p) (fn [r] (swap! calls inc) (:status r)))))
      (is (= 200 @(client/get (:url p) :status)))
      (is (nil? @(client/get (:url p) {} (fn [_] nil))))
      (is (= 1 @calls)))))

(deftest no-callback-may-be-nil-or-false
  (peer/with-peer [p ok]
    (doseq [none [nil false]]
      (is (= "ok" (:body @(client/get (:url p) {} none)))))))

(deftest callbacks-that-throw
  (peer/with-peer [p ok]
    (let [err (ByteArrayOutputStream.)
          old System/err
          boom (Error. "boom")]
      (System/setErr (PrintStream. err true))
      (try
        (let [{:keys [error opts]} @(client/get (:url p) {:k 1} (fn [_] (throw boom)))]
          (is (identical? boom error))
          (is (= {:k 1 :url (:url p) :method :get} opts)))
        (finally (System/setErr old)))
      (is (re-find (re-pattern (str "\\[.*\\] ERROR - GET " (:url p) "'s callback")) (str err)))
      (is (str/includes? (str err) "boom")))))

(deftest results-are-promises-and-futures
  (peer/with-peer [p ok]
    (let [result (client/get (:url p))]
      (is (every? #(instance? % result) [IDeref IBlockingDeref IPending Future]))
      (is (not (ifn? result)))
      (is (= "ok" (:body (deref result 10000 nil))))
      (is (realized? result))
      (is (future-done? result))
      (is (= "ok" (:body (.get ^Future result))))
      (is (= "ok" (:body (.get ^Future result 1 TimeUnit/SECONDS))))
      (is (false? (future-cancel result)) "it is over")
      (is (str/includes? (pr-str result) ":ready"))))
  (testing "a promise of the user's is delivered"
    (peer/with-peer [p ok]
      (let [mine (promise)]
        (client/get (:url p) {:response mine})
        (let [response (deref mine 10000 nil)]
          (is (= "ok" (:body response)))
          (is (not (contains? (:opts response) :response)))))
      (is (= "ok" (:body (deref (client/get (:url p) {:response nil}) 10000 nil))) "nil counts as none")
      (let [mine (promise)]
        (is (identical? mine (client/get (:url p) {:response mine :deadlock-guard? false})))))
    (let [mine (promise)
          {:keys [opts error]} @(client/get (str "http://127.0.0.1:" (dead-port)) {:response mine})]
      (is (= ConnectException (class error)))
      (is (identical? mine (:response opts))))))

(deftest results-are-not-awaited-in-callbacks
  (peer/with-peer [p ok]
    (let [in-callback (fn [f] @(client/get (:url p) {} (fn [_] (try (f) (catch Exception e e)))))
          other       (client/get (:url p))]
      (doseq [[how f] {"deref"  #(deref other)
                       "timed"  #(deref other 10 nil)
                       "get"    #(.get ^Future other)
                       "future" #(let [r @(future (try @other (catch Exception e e)))] r)}]
        (let [e (in-callback f)]
          (is (= Exception (class e)) how)
          (is (str/includes? (ex-message e) "deadlock-guard") how)))
      (is (= 200 (:status (in-callback #(deref (client/get (:url p) {:deadlock-guard? false})))))))))

(deftest cancelling-closes-the-connection
  (let [ended (promise)]
    (peer/with-peer [p (fn [conn] (hanging conn) (deliver ended true))]
      (let [seen   (promise)
            result (client/get (:url p) {} (fn [r] (deliver seen r) :called))]
        (is (peer/eventually #(seq @(:sockets p))))
        (is (not (future-done? result)))
        (is (true? (future-cancel result)))
        (is (future-cancelled? result))
        (is (future-done? result))
        (is (thrown? CancellationException (.get ^Future result)))
        (is (instance? CancellationException (:error (deref seen 10000 nil))))
        (is (= :called (deref result 10000 nil)))
        (is (true? (deref ended 10000 false)) "the peer sees the end")
        (is (false? (future-cancel result)))))))

(deftest cancelling-reaches-later-hops
  (let [hops (atom 0)]
    (peer/with-peer [p (fn [conn]
                         (peer/read-request! conn)
                         (peer/send! conn "HTTP/1.1 302 X\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n")
                         (peer/read-request! conn)
                         (swap! hops inc)
                         (peer/await-end! conn)
                         (swap! hops inc))]
      (let [result (client/get (:url p))]
        (is (peer/eventually #(= 1 @hops)))
        (is (future-cancel result))
        (is (instance? CancellationException (:error (deref result 10000 nil))))
        (is (peer/eventually #(= 2 @hops)))))))

(deftest cancelling-reaches-a-hop-that-began-while-the-caller-was-held-up
  (let [second-hop (promise), ended (promise)
        caller     (Thread/currentThread)
        client     (proxy [HttpClient] []
                     (exec [url config engine listener]
                       (proxy-super exec url config engine listener)
                       (when (= caller (Thread/currentThread)) (deref second-hop 10000 nil))))]
    (peer/with-peer [p (fn [conn]
                         (peer/read-request! conn)
                         (peer/send! conn "HTTP/1.1 302 X\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n")
                         (peer/read-request! conn)
                         (deliver second-hop true)
                         (peer/await-end! conn)
                         (deliver ended true))]
      (let [result (client/get (:url p) {:client client})]
        (is (realized? second-hop))
        (is (future-cancel result))
        (is (instance? CancellationException (:error (deref result 10000 nil))))
        (is (deref ended 10000 false))
        (client/client-stop! client)))))

(deftest errors-have-the-documented-classes
  (let [error (fn [f & [opts]]
                (peer/with-peer [p f]
                  (let [{:keys [error status]} @(client/request (assoc opts :url (:url p)) nil)]
                    (is (nil? status))
                    error)))
        expect (fn [class message e]
                 (is (= class (clojure.core/class e)) message)
                 (is (= message (ex-message e))))]
    (expect ProtocolException "Unexpected EOF before response completed"
            (error (fn [c] (peer/read-request! c) (peer/close! c))))
    (expect SocketException "Connection reset"
            (error (fn [c] (peer/read-request! c) (peer/break! c))))
    (expect TimeoutException "idle timeout: 150ms" (error hanging {:timeout 150}))
    (expect AbortException "Rejected when reading body, length: 2" (error ok {:filter (client/max-body-filter 1)}))
    (is (= ConnectException (class (:error @(client/get (str "http://127.0.0.1:" (dead-port)))))))
    (is (= UnknownHostException (class (:error @(client/get "http://no-such-host.invalid/")))))))

(deftest quick-responses-pass-a-timeout-of-zero
  (peer/with-peer [p ok]
    (is (some #(= "ok" (:body %)) (repeatedly 20 #(deref (client/get (:url p) {:timeout 0}))))
        "one of them, even on a busy machine")))

(deftest timeouts-at-and-below-zero-end-what-is-slow
  (peer/with-peer [p hanging]
    (doseq [ms [0 -1]]
      (let [{:keys [error]} (deref (client/get (:url p) {:timeout ms}) 5000 nil)]
        (is (= TimeoutException (class error)))
        (is (str/ends-with? (ex-message error) (str " timeout: " ms "ms")))))
    (is (= "idle timeout: -1ms" (ex-message (:error (deref (client/get (:url p) {:idle-timeout -1}) 5000 nil)))))
    (is (= "deadline: 0ms" (ex-message (:error (deref (client/get (:url p) {:deadline -5}) 5000 nil)))))))

(deftest filters-of-ones-own
  (let [seen (atom [])
        filter (reify IFilter
                 (^boolean accept [_ ^java.util.Map headers] (swap! seen conj (get headers "x")) true)
                 (^boolean accept [_ ^org.httpkit.DynamicBytes body] (swap! seen conj (.length body)) (< (.length body) 8)))
        answer (fn [n] (str "HTTP/1.1 200 OK\r\nX: y\r\nContent-Type: text/plain\r\nContent-Length: " n "\r\n\r\n"
                            (apply str (repeat n "b"))))]
    (peer/with-peer [p (peer/answering (fn [r] (answer (if (str/includes? (:line r) "long") 9 3))))]
      (is (= "bbb" (:body @(client/get (:url p) {:filter filter}))))
      (is (= ["y" 3] @seen))
      (let [e (:error @(client/get (str (:url p) "/long") {:filter filter}))]
        (is (= AbortException (class e)))
        (is (str/starts-with? (ex-message e) "Rejected when reading body, length: ")))))
  (testing "a filter that throws is reported, and delivered"
    (let [logged (atom [])
          events (atom [])
          boom   (IllegalStateException. "filter")
          c      (client/make-client {:error-logger (fn [msg e] (swap! logged conj [msg e]))
                                      :event-logger #(swap! events conj %)
                                      :event-names {"clientImpossible" "mine"}})
          filter (reify IFilter
                   (^boolean accept [_ ^java.util.Map _] (throw boom))
                   (^boolean accept [_ ^org.httpkit.DynamicBytes _] true))]
      (peer/with-peer [p ok]
        (is (identical? boom (:error @(client/get (:url p) {:filter filter :client c}))))
        (is (= [["should not happen" boom]] @logged))
        (is (= ["mine"] @events)))
      (client/client-stop! c))))

(defn- captured-stderr [f]
  (let [err    (ByteArrayOutputStream.)
        stderr System/err]
    (System/setErr (PrintStream. err true))
    (try (f) (finally (System/setErr stderr)))
    (str err)))

(deftest loggers-that-throw-cost-no-request
  (let [boom   (IllegalStateException. "filter")
        filter (reify IFilter
                 (^boolean accept [_ ^java.util.Map _] (throw boom))
                 (^boolean accept [_ ^org.httpkit.DynamicBytes _] true))]
    (peer/with-peer [p ok]
      (doseq [logger [:error-logger :event-logger]]
        (let [c (client/make-client (assoc {:error-logger (fn [_ _])}
                                         logger (fn [& _] (throw (IllegalStateException. "logger")))))]
          (is (str/includes?
               (captured-stderr #(is (identical? boom (:error (deref (client/get (:url p) {:filter filter :client c})
                                                                      5000 nil)))))
               "IllegalStateException: logger"))
          (is (= "ok" (:body (deref (client/get (:url p) {:client c}) 5000 nil))))
          (client/client-stop! c))))))

(deftest negative-limits-accept-no-body
  (peer/with-peer [p ok]
    (let [{:keys [error]} @(client/get (:url p) {:filter (client/max-body-filter -1)})]
      (is (= AbortException (class error))))))

(defn- bomb
  "gzip of n zero bytes."
  ^bytes [n]
  (let [out (ByteArrayOutputStream.)]
    (with-open [gz (GZIPOutputStream. out)]
      (dotimes [_ (quot n 65536)] (.write gz (byte-array 65536))))
    (.toByteArray out)))

(deftest refused-connects-say-of-whom
  (let [port    (dead-port)
        message (fn [url opts]
                  (let [{:keys [error]} @(client/get url opts)]
                    (is (= ConnectException (class error)))
                    (ex-message error)))
        refused #(str "Connection refused: " % ":" port)
        hosted  (client/make-client {:channel-factory (fn [_] (java.nio.channels.SocketChannel/open))})]
    (doseq [opts [{} {:client hosted}]]
      (is (= (refused "127.0.0.1") (message (str "http://127.0.0.1:" port "/") opts)))
      (is (str/starts-with? (message (str "http://localhost:" port "/") opts) (refused "localhost")))
      (is (= (refused "[0:0:0:0:0:0:0:1]") (message (str "http://[::1]:" port "/") opts)))
      (testing "be it a proxy"
        (doseq [url ["http://t.test/" "https://t.test/"] tunnel? [false true]]
          (is (= (refused "127.0.0.1") (message url (assoc opts :proxy-url (str "http://127.0.0.1:" port)
                                                           :proxy-tunnel? tunnel?)))))))
    (client/client-stop! hosted)))

(deftest decompression-bombs-are-refused-within-the-limit
  (let [bytes (bomb (* 512 1024 1024))
        limit (* 1024 1024)]
    (is (< (alength bytes) limit))
    (peer/with-peer [p (fn [conn]
                         (peer/read-request! conn)
                         (peer/send! conn "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: " (alength bytes) "\r\n\r\n")
                         (peer/send-bytes! conn bytes))]
      (doseq [filter [(client/max-body-filter limit)
                      (proxy [IFilter$MaxBodyFilter] [(int limit)]
                        (accept [_] true))]]
        (let [{:keys [error]} (deref (client/get (:url p) {:filter filter}) 20000 nil)]
          (is (= AbortException (class error)))
          (is (str/starts-with? (str (some-> error ex-message)) "Rejected when decompressing body, length: ")))))))

(deftest a-filter-that-blocks-delays-no-other-request
  (let [go     (promise)
        filter (reify IFilter
                 (^boolean accept [_ ^java.util.Map _] @go true)
                 (^boolean accept [_ ^org.httpkit.DynamicBytes _] true))]
    (peer/with-peer [p ok]
      (let [blocked (client/get (:url p) {:filter filter})]
        (is (= "ok" (:body (deref (client/get (:url p)) 5000 nil))))
        (deliver go true)
        (is (= "ok" (:body (deref blocked 5000 nil))))))))

(defn- begin-long-response!
  "Sends 200,000 of 900,000 bytes."
  [conn]
  (peer/read-request! conn)
  (peer/send! conn "HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n")
  (dotimes [_ 20] (peer/send-bytes! conn (byte-array 10000))))

(defn- blocking-filter
  "Blocks at the first piece of a body, when it delivers `inside`, until `go` is delivered; `seen` gets the lengths."
  [inside go seen]
  (reify IFilter
    (^boolean accept [_ ^java.util.Map _] true)
    (^boolean accept [_ ^org.httpkit.DynamicBytes body]
      (swap! seen conj (.length body))
      (deliver inside true)
      @go
      true)))

(deftest no-more-is-filtered-once-a-request-has-been-ended
  (doseq [[how opts end! expected]
          [["by its deadline"        {:deadline 2000} (fn [_ _])                             TimeoutException]
           ["by cancelling it"       {}               (fn [_ result] (future-cancel result)) CancellationException]
           ["by stopping the client" {}               (fn [c _] (client/client-stop! c))     IOException]]]
    (testing how
      (let [[inside go sent over] (repeatedly promise)
            seen (atom [])
            c    (client/make-client {})]
        (peer/with-peer [p (fn [conn]
                             (begin-long-response! conn)
                             (deliver sent true)
                             (peer/await-end! conn)
                             (deliver over true))]
          (let [result (client/get (:url p) (merge {:client c :filter (blocking-filter inside go seen)} opts))]
            (is (true? (deref inside 10000 :late)))
            (is (true? (deref sent 10000 :late)))
            (end! c result)
            (is (true? (deref over 10000 :late)))
            ;; The loop that takes this one is done with the other.
            (is (:error (deref (client/get (str "http://127.0.0.1:" (dead-port)) {:client c}) 10000 nil)))
            (deliver go true)
            (is (= expected (class (:error (deref result 10000 nil)))))
            (is (= 1 (count @seen)) "only what was filtered then"))
          (client/client-stop! c))))))

(deftest all-that-came-before-a-peers-fault-is-filtered
  (let [[inside go over] (repeatedly promise)
        seen (atom [])
        c    (client/make-client {})]
    (peer/with-peer [p (fn [conn]
                         (begin-long-response! conn)
                         (peer/close! conn)
                         (deliver over true))]
      (let [result (client/get (:url p) {:client c :filter (blocking-filter inside go seen)})]
        (is (true? (deref inside 10000 :late)))
        (is (true? (deref over 10000 :late)))
        (is (peer/eventually #(zero? (long (:active (client/client-stats c))))))
        (is (:error (deref (client/get (str "http://127.0.0.1:" (dead-port)) {:client c}) 10000 nil)))
        (deliver go true)
        (is (some? (:error (deref result 10000 nil))))
        (is (= 200000 (peek @seen)))))
    (client/client-stop! c)))

(deftest worker-pools
  (peer/with-peer [p ok]
    (testing "decode and call back"
      (let [pool (Executors/newFixedThreadPool 1)
            thread @(client/get (:url p) {:worker-pool pool} (fn [_] (.getName (Thread/currentThread))))]
        (is (str/starts-with? thread "pool-"))
        (is (= 200 (:status @(client/get (:url p) {:worker-pool (delay pool)}))))
        (.shutdown pool)
        (testing "that reject have their exception delivered"
          (doseq [[url said] {(:url p)                                         (:url p)
                              (str/replace (:url p) "//" "//me:s3cr3t@")       (:url p)
                              (str (:url p) "/a@b?email=me@s3cr3t#f")          (str (:url p) "/a@b")
                              "http://me:s3cr3t x@127.0.0.1/"                  "an invalid URL"}
                  :let [{:keys [error]} @(client/post url {:worker-pool pool})]]
            (is (= RejectedExecutionException (class error)))
            (is (str/starts-with? (str (ex-message error)) (str "Task the response of POST " said " rejected from ")))))))
    (testing "the default"
      (let [^Thread thread @(client/get (:url p) (fn [_] (Thread/currentThread)))]
        (is (.isDaemon thread))
        (is (not (str/starts-with? (.getName thread) "client-loop")))))))

(deftest a-response-that-only-a-deref-takes-needs-no-thread-of-the-pool
  (peer/with-peer [p ok]
    (let [pool (doto (Executors/newSingleThreadExecutor) (.shutdown))]
      (with-redefs [client/default-worker_ (delay {:pool pool})]
        (let [result (client/get (:url p) {:k 1})
              both   (mapv deref [(future @result) (future (deref result 5000 :late))])]
          (is (= [200 "ok" 1] ((juxt :status :body (comp :k :opts)) (first both))))
          (is (apply identical? both) "converted once")
          (is (identical? @result (.get ^Future result)))
          (is (realized? result))
          (is (false? (future-cancel result))))
        (testing "what user code takes needs one"
          (is (instance? RejectedExecutionException (:error @(client/get (:url p) (fn [r] r)))))
          (is (instance? RejectedExecutionException (:error @(client/get (:url p) {:deadlock-guard? false}))))
          (is (instance? RejectedExecutionException (:error @(client/get (:url p) {:response (promise)})))))))))

(defn- by-path
  "Hangs at /hang, redirects from /to/x to /x, else answers."
  [conn]
  (loop []
    (when-let [{:keys [line]} (peer/read-request! conn)]
      (let [[_ to] (re-find #"^GET /to(/\S*)" line)]
        (cond
          (str/includes? line " /hang ") (peer/await-end! conn)
          to    (peer/send! conn "HTTP/1.1 302 X\r\nLocation: " to "\r\nContent-Length: 0\r\n\r\n")
          :else (peer/respond! conn "ok")))
      (recur))))

(deftest callbacks-that-block-hold-up-no-result-without-one
  (let [{:keys [^ExecutorService pool] :as worker} (client/new-worker {:n-threads 1 :allow-virtual? false})
        [inside go] (repeatedly promise)
        outcome #(let [{:keys [error body] :as value} (deref % 10000 :held-up)]
                   (cond error                        (class error)
                         (instance? InputStream body) (slurp body)
                         :else                        (or body value)))
        pass-all (reify IFilter
                   (^boolean accept [_ ^java.util.Map _] true)
                   (^boolean accept [_ ^org.httpkit.DynamicBytes _] true))]
    (peer/with-peer [p by-path]
      (with-redefs [client/default-worker_ (delay worker)]
        (let [get     (fn [path & [opts]] (client/get (str (:url p) path) opts))
              blocked (client/get (:url p) (fn [_] (deliver inside true) @go))]
          (is (true? (deref inside 10000 :late)))
          (is (= TimeoutException (outcome (get "/hang" {:deadline 200}))) "a deadline")
          (is (= TimeoutException (outcome (get "/to/hang" {:deadline 200}))) "one that passes after a redirect")
          (is (= ConnectException (outcome (client/get (str "http://127.0.0.1:" (dead-port))))) "a failure")
          (is (= UnknownHostException (outcome (client/get "http://no-such-host.invalid/"))) "a refusal")
          (is (= CancellationException (outcome (doto (get "/hang") future-cancel))) "a cancellation")
          (is (= CancellationException (outcome (doto (get "/hang" {:as :stream}) future-cancel))) "that of a stream")
          (is (= "ok" (outcome (get "/"))) "a success")
          (is (= "ok" (outcome (get "/" {:as :stream}))) "a stream")
          (is (= "ok" (outcome (get "/" {:filter pass-all}))) "a filtered response")
          (is (= "ok" (outcome (get "/to/to/ok"))) "redirects")
          (is (= "ok" (outcome (get "/to/ok" {:as :stream}))) "a redirect to a stream")
          (is (not (realized? blocked)) "they were blocked all the time")
          (deliver go true)
          (is (true? (deref blocked 10000 :late))))))
    (.shutdown pool)))

(deftest calls-under-way-survive-a-reload-of-the-namespaces
  (let [go-on   (promise)
        slow    (fn [conn]
                  (peer/read-request! conn)
                  (deref go-on 20000 nil)
                  (peer/send! conn "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
        clients [@client/default-client @client/legacy-client]]
    (peer/with-peer [p slow]
      (let [plain     (client/get (:url p) {:as :text})
            called    (client/get (:url p) {} :status)
            cancelled (client/get (:url p))
            failing   (client/get (:url p) {:timeout 300})
            arrived   (client/get (:url p))
            _         (future-cancel cancelled)]
        (require 'org.httpkit.client.ending 'org.httpkit.client :reload)
        (is (instance? TimeoutException (:error (deref failing 20000 nil))))
        (deliver go-on true)
        (is (= [200 "ok"] ((juxt :status :body) (deref plain 20000 nil))))
        (is (= 200 (deref called 20000 nil)))
        (is (future-cancelled? cancelled))
        (require 'org.httpkit.client.ending 'org.httpkit.client :reload)
        (is (= 200 (:status (deref arrived 20000 nil))))))
    (is (= clients [@client/default-client @client/legacy-client]))))

(deftest the-default-client-is-a-dynamic-var
  (peer/with-peer [p ok]
    (let [asked (atom 0)
          mine  (client/make-client {:address-finder (fn [_] (swap! asked inc)
                                                       (java.net.InetSocketAddress. "127.0.0.1" (int (:port p))))})]
      (doseq [bound [mine (delay mine)]]
        (binding [client/*default-client* bound]
          (is (= "ok" (:body @(client/get "http://somewhere.test/"))))))
      (is (= 2 @asked))
      (binding [client/*default-client* (delay nil)]
        (is (= "ok" (:body @(client/get (:url p))))))
      (is (= "ok" (:body @(client/get "http://somewhere.test/" {:client (delay mine)}))))
      (client/client-stop! mine))))

(deftest deadlines-cover-everything
  (let [on-time (fn [what opts]
                  (let [start (System/nanoTime)
                        {:keys [error]} (deref (client/request (assoc opts :deadline 200) nil) 20000 :hung)
                        took  (quot (- (System/nanoTime) start) 1000000)]
                    (is (= TimeoutException (class error)) what)
                    (is (= "deadline: 200ms" (some-> error ex-message)) what)
                    (is (<= 150 took 5000) what)))]
    (peer/with-peer [p hanging]
      (on-time "headers" {:url (:url p)})
      (on-time "TLS handshake" {:url (str/replace (:url p) "http:" "https:")}))
    (peer/with-peer [p (fn [conn]
                         (peer/read-request! conn)
                         (peer/send! conn "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                         (try
                           (dotimes [_ 500] (peer/send! conn "x") (Thread/sleep 10))
                           (catch IOException _)))]
      (on-time "a body that drips" {:url (:url p)}))
    (testing "redirects share one"
      (peer/with-peer [p (peer/answering (fn [_] (Thread/sleep 60)
                                           "HTTP/1.1 302 X\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"))]
        (on-time "redirects" {:url (:url p) :max-redirects 100})))
    (testing "a resolver that hangs"
      (let [c (client/make-client {:address-finder (fn [_] (Thread/sleep 60000))})]
        (on-time "DNS" {:url "http://h.test/" :client c})
        (client/client-stop! c)))))

(deftest waiting-for-a-connection-can-be-bounded
  (let [c (client/make-client {:max-connections 1})]
    (peer/with-peer [p hanging]
      (let [first-one (client/get (:url p) {:client c})]
        (is (peer/eventually #(= 1 (:active (client/client-stats c)))))
        (doseq [ms [100 0]]
          (let [{:keys [error]} (deref (client/get (:url p) {:client c :pool-timeout ms}) 5000 nil)]
            (is (= TimeoutException (class error)))
            (is (= (str "pool timeout: " ms "ms") (ex-message error)))))
        (is (= "connect timeout: 100ms"
               (ex-message (:error (deref (client/get (:url p) {:client c :pool-timeout -1 :timeout 100}) 5000 nil)))))
        (future-cancel first-one)))
    (client/client-stop! c)))

(deftest connections-per-host-can-be-bounded
  (let [c (client/make-client {:max-connections-per-host 1})]
    (peer/with-peer [p hanging]
      (peer/with-peer [q ok]
        (let [one (client/get (:url p) {:client c})
              two (client/get (:url p) {:client c})]
          (is (= "ok" (:body (deref (client/get (:url q) {:client c}) 5000 nil))) "other hosts are free")
          (is (peer/eventually #(= [1 1] ((juxt :active :queued) (client/client-stats c)))))
          (is (str/includes? (str c) "active 1, queued 1"))
          (is (peer/eventually #(= 1 (count @(:sockets p)))) "the peer may accept it late")
          (run! future-cancel [one two]))))
    (client/client-stop! c)))

(deftest clients-count-and-stop
  (let [c (client/make-client {})]
    (peer/with-peer [p ok]
      (dotimes [_ 3] @(client/get (:url p) {:client c}))
      (is (peer/eventually #(= 1 (:idle (client/client-stats c)))))
      (is (= {:connections 1 :idle 1 :active 0 :queued 0 :opened 1 :requests 3 :reused 2 :retried 0
              :native-tls 0 :java-hosted 0 :connecting 0 :buffered-bytes 0}
             (client/client-stats c))))
    (peer/with-peer [p hanging]
      (let [active (client/get (:url p) {:client c})]
        (is (peer/eventually #(seq @(:sockets p))))
        (is (nil? (client/client-stop! c)))
        (let [{:keys [error]} (deref active 5000 nil)]
          (is (= IOException (class error)))
          (is (= "HTTP client is stopped" (ex-message error))))
        (is (= "HTTP client is stopped" (ex-message (:error @(client/get (:url p) {:client c})))))
        (client/client-stop! (delay c))))
    (is (every? zero? (vals (client/client-stats c))))))

(deftest loops-are-daemons-with-names
  (let [before (set (map #(.getName ^Thread %) (keys (Thread/getAllStackTraces))))
        c      (client/make-client {})
        mine   (remove #(before (.getName ^Thread %)) (keys (Thread/getAllStackTraces)))
        loops  (filter #(re-matches #"client-loop(#\d+)?" (.getName ^Thread %)) mine)]
    (is (= 1 (count loops)))
    (is (.isDaemon ^Thread (first loops)))
    (client/client-stop! c)
    (is (peer/eventually #(not (.isAlive ^Thread (first loops)))))))

(deftest java-constructors
  (doseq [c [(HttpClient.) (HttpClient. 1)]]
    (is (str/starts-with? (str c) "org.httpkit.client.HttpClient[running"))
    (peer/with-peer [p ok]
      (is (= "ok" (:body @(client/get (:url p) {:client c})))))
    (.stop ^HttpClient c)
    (.stop ^HttpClient c)))

(deftest nothing-is-left-behind
  (is (peer/eventually #(zero? (ClientUpcalls/liveCalls)))))
