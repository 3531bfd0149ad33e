(ns httpkit.ring-handler-test
  "`RingHandler`, given to a server and behind other handlers that pass requests on to it."
  (:require [clojure.string      :as str]
            [clojure.test        :refer [are deftest is testing use-fixtures]]
            [httpkit.stop-faults-test :as faults]
            [httpkit.wire        :as wire]
            [httpkit.ws-wire     :as ws]
            [org.httpkit.server  :as server])
  (:import (java.io ByteArrayInputStream)
           (java.nio ByteBuffer)
           (java.nio.charset StandardCharsets)
           (java.util.concurrent AbstractExecutorService CountDownLatch ExecutorService Executors
                                 RejectedExecutionException ThreadPoolExecutor)
           (org.httpkit HttpMethod HttpVersion)
           (org.httpkit.jni Native)
           (org.httpkit.logger ContextLogger EventLogger EventNames)
           (org.httpkit.server AsyncChannel Frame HttpRequest HttpServer HttpServer$Status IHandler ProxyProtocolOption
                               RespCallback RingHandler)))

(set! *warn-on-reflection* true)

(use-fixtures :once
  (fn [run-tests]
    (let [before (Native/liveHandles)]
      (run-tests)
      (is (wire/eventually #(<= (Native/liveHandles) before)) "no handle is left"))))

(defn- ring
  "A `RingHandler`; `log` is an atom that gets its events and [message throwable]."
  ^RingHandler
  [log f {:keys [pool header async? quiet? legacy-length?] :or {header "http-kit" async? false legacy-length? true}}]
  (RingHandler. f (boolean async?) (or pool (Executors/newFixedThreadPool 4))
                (reify ContextLogger (log [_ message error] (swap! log conj [message (ex-message error)])))
                (if quiet?
                  EventLogger/NOP
                  (reify EventLogger (log [_ event] (swap! log conj event))))
                EventNames/DEFAULT header (boolean legacy-length?)))

(defn- in-front-of
  "An `IHandler` that passes everything on: frames through `(frame pass text)`, closes through `(close pass)`."
  ^IHandler [^IHandler ring {:keys [frame close] :or {frame (fn [pass _] (pass)) close #(%)}}]
  (reify IHandler
    (^void handle [_ ^HttpRequest request ^RespCallback callback] (.handle ring request callback))
    (^void handle [_ ^AsyncChannel channel ^Frame data]
      (frame #(.handle ring channel data) (String. (.data data))))
    (clientClose [_ channel status] (.clientClose ring channel status))
    (^void clientClose [_ ^AsyncChannel channel ^int status ^String reason]
      (close #(.clientClose ring channel status reason)))
    (close [_ timeout] (.close ring timeout))))

(defn- behind ^IHandler [ring] (in-front-of ring nil))

(defn- start ^HttpServer [^IHandler handler]
  (doto (HttpServer. "127.0.0.1" 0 handler (bit-shift-left 1 20) 8192 (bit-shift-left 1 20)
                     ProxyProtocolOption/DISABLED)
    (.start)))

(defn- stop! [^HttpServer server]
  (.stop server 1000)
  (is (wire/eventually #(= HttpServer$Status/STOPPED (.getStatus server)))))

(defmacro ^:private with-ring
  "Runs `body` for a server that runs a `RingHandler`'s function by itself, and for one with another handler
  before it."
  [[port log f options] & body]
  `(doseq [wrap# [identity behind]]
     (testing (if (= behind wrap#) "behind another handler" "alone")
       (let [~log    (atom [])
             server# (start (wrap# (ring ~log ~f (assoc ~options :quiet? (= identity wrap#)))))]
         (try (let [~port (.getPort server#)] ~@body)
              (finally (stop! server#)))))))

(defn- app [{:keys [uri body query-string request-method remote-addr headers] :as req}]
  (case uri
    "/"        {:status 200 :headers {"x-seen" (str request-method " " query-string)} :body "root"}
    "/echo"    {:status 201 :body (some-> body slurp)}
    "/headers" {:headers {"set-cookie" ["a=1" "b=2"] "x-gone" nil} :body (headers "x-name")}
    "/stream"  {:body (ByteArrayInputStream. (.getBytes "from a stream"))}
    "/seq"     {:body (map str (range 10))}
    "/addr"    {:body (str remote-addr)}
    "/nil"     nil
    "/throw"   (throw (ex-info "no luck" {}))
    "/status"  {:status 99}
    "/body"    {:body :keyword}
    "/large"   {:body (byte-array 1000000 (byte 65))}
    "/channel" (server/as-channel req {:on-open #(server/send! % "by channel")})
    "/later"   (server/as-channel req {:on-open (fn [ch] (future (server/send! ch "later")))})
    "/both"    (do (server/as-channel req {:on-open #(server/send! % "by channel")})
                   {:body "by map"})
    "/cut"     (do (server/as-channel req {:on-open #(server/send! % "piece" false)})
                   (throw (ex-info "cut" {})))))

(deftest ring-responses
  (with-ring [port log app nil]
    (with-open [conn (wire/connect port)]
      (are [request status body] (= [status body]
                                    (do (wire/send! conn request)
                                        ((juxt :status :body) (wire/answer conn))))
        (wire/get-request "/?a=b")                                  200 "root"
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi" 201 "hi"
        (wire/get-request "/headers" ["X-Name" "n"])                200 "n"
        (wire/get-request "/stream")                                200 "from a stream"
        (wire/get-request "/seq")                                   200 "0123456789"
        (wire/get-request "/addr" ["X-Forwarded-For" "10.0.0.1"])   200 "10.0.0.1"
        (wire/get-request "/nil")                                   404 ""
        (wire/get-request "/throw")                                 500 "no luck"
        (wire/get-request "/channel")                               200 "by channel"
        (wire/get-request "/later")                                 200 "later"
        (wire/get-request "/both")                                  200 "by channel"
        (wire/get-request "/?after=both")                           200 "root")
      (wire/send! conn (wire/get-request "/large"))
      (is (= 1000000 (count (:body (wire/answer conn)))))
      (wire/send! conn (wire/get-request "/headers"))
      (is (= {"set-cookie" "a=1, b=2" "server" "http-kit"}
             (select-keys (:headers (wire/answer conn)) ["set-cookie" "x-gone" "server"])))
      (wire/send! conn "HEAD /large HTTP/1.1\r\nHost: h\r\n\r\n" (wire/get-request "/"))
      (is (= "1000000" (get-in (wire/answer conn :head? true) [:headers "content-length"])))
      (is (= "root" (:body (wire/answer conn)))))
    (is (= 500 (:status (wire/fetch port "/status"))))
    (is (= 500 (:status (wire/fetch port "/body"))))
    (is (some #{["GET /throw" "no luck"]} @log))))

(deftest connections-are-kept-and-ended-as-the-request-asks
  (with-ring [port log app nil]
    (are [request connection ends?]
         (with-open [conn (wire/connect port)]
           (wire/send! conn request (wire/get-request "/nil"))
           (let [first-one (wire/answer conn)]
             (is (= connection (get-in first-one [:headers "connection"])))
             (= ends? (= :closed (wire/answer conn)))))
      (wire/get-request "/")                                 nil          false
      (wire/get-request "/" ["Connection" "close"])          "Close"      true
      "GET / HTTP/1.0\r\n\r\n"                               nil          true
      "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"     "Keep-Alive" false
      (wire/get-request "/" ["Upgrade" "websocket"])         "Close"      true)))

(deftest a-failure-behind-a-begun-answer-cuts-it
  (with-ring [port log app nil]
    (is (= "cut" (second (do (is (thrown? clojure.lang.ExceptionInfo (wire/fetch port "/cut")))
                             (wire/eventually #(some (fn [e] (when (= "GET /cut" (first e)) e))
                                                     (filter vector? @log)))))))))

(deftest a-ring-handler-with-a-header-and-loggers-of-its-own-uses-them
  (let [log    (atom [])
        server (start (ring log app {:header "mine"}))]
    (is (= ["mine" "mine" "mine"]
           (for [path ["/" "/nil" "/throw"]]
             (get-in (wire/fetch (.getPort server) path) [:headers "server"]))))
    (is (wire/eventually #(= ["httpkit.server.status.processed.200" "httpkit.server.status.404"
                              ["GET /throw" "no luck"] "httpkit.server.status.500"]
                             @log)))
    (stop! server)))

(deftest a-content-length-counts-in-the-response-to-head-unless-it-is-legacy
  (doseq [legacy? [true false]]
    (with-ring [port log (constantly {:headers {"Content-Length" "77"} :body "four"}) {:legacy-length? legacy?}]
      (with-open [conn (wire/connect port)]
        (wire/send! conn "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        (is (= (if legacy? "4" "77") (get-in (wire/answer conn :head? true) [:headers "content-length"])))))))

(deftest what-a-handler-in-front-sets-counts-for-the-ring-handler
  (let [inner  (ring (atom []) (fn [{:keys [headers body content-length remote-addr start-time]}]
                                 {:body (pr-str [headers (slurp body) content-length remote-addr start-time])})
                     {})
        server (start (reify IHandler
                        (^void handle [_ ^HttpRequest request ^RespCallback callback]
                          (.setHeaders request {"x-a" "set" "x-forwarded-for" "10.1.1.1, 10.2.2.2"})
                          (.setBody request (.getBytes "other body") 5)
                          (.setStartTime request 42)
                          (.handle inner request callback))
                        (^void handle [_ ^AsyncChannel _ ^Frame _])
                        (clientClose [_ _ _])
                        (close [_ timeout] (.close inner timeout))))]
    (is (= (pr-str [{"x-a" "set" "x-forwarded-for" "10.1.1.1, 10.2.2.2"} "other" 5 "10.1.1.1" 42])
           (:body (wire/fetch (.getPort server) "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"))))
    (stop! server)))

(deftest what-cannot-be-sent-as-it-was-meant-is-named
  (with-ring [port log
              (fn [{:keys [uri]}]
                (case uri
                  "/name"   {:headers {:content-type "text/plain"}}
                  "/value"  {:headers {"X-A" "a\nb"}}
                  "/status" {:status "404" :body "x"}
                  "/nil"    nil
                  "/text"   "x"))
              {}]
    (are [path status body] (= [status body] ((juxt :status :body) (wire/fetch port path)))
      "/name"   500 "response header :content-type: its name is of class clojure.lang.Keyword, expected a String"
      "/text"   500 "response of class java.lang.String: expected a map, or nil for 404"
      "/value"  500 "Invalid character in HTTP header value: X-A has a control character at index 1")
    (let [err  System/err
          text (java.io.ByteArrayOutputStream.)]
      (System/setErr (java.io.PrintStream. text true))
      (try (dotimes [_ 2] (is (= [200 404] (map #(:status (wire/fetch port %)) ["/status" "/nil"]))))
           (finally (System/setErr err)))
      (is (= 1 (count (re-seq #"WARN - GET /status: response :status of class java.lang.String counts as 200" (str text)))))
      (is (= 1 (count (re-seq #"WARN - GET /nil: the handler returned nil" (str text))))))))

(deftest ring-async
  (with-ring [port log
              (fn [{:keys [uri]} respond raise]
                (case uri
                  "/"       (future (respond {:body "responded"}) (respond {:body "again"}))
                  "/raise"  (future (raise (ex-info "raised" {})))
                  "/value"  (raise 5)
                  "/throw"  (throw (ex-info "thrown" {}))
                  "/late"   (do (respond {:body "in time"}) (throw (ex-info "too late" {})))
                  "/body"   (respond {:body :keyword})))
              {:async? true}]
    (with-open [conn (wire/connect port)]
      (are [path status body] (= [status body]
                                 (do (wire/send! conn (wire/get-request path))
                                     ((juxt :status :body) (wire/answer conn))))
        "/"      200 "responded"
        "/raise" 500 "raised"
        "/value" 500 "Ring async raise value must be a Throwable"
        "/throw" 500 "thrown"
        "/late"  200 "in time"
        "/body"  500 (str "class clojure.lang.Keyword is not understandable: a response's :body is nil, a String,"
                          " byte[], ByteBuffer, InputStream, File or a sequence")
        "/"      200 "responded"))))

(def ^:private ^ExecutorService rejecting
  (proxy [AbstractExecutorService] []
    (execute [_] (throw (RejectedExecutionException. "full")))
    (shutdown [])
    (shutdownNow [] [])
    (isShutdown [] (throw (IllegalStateException. "lifecycle")))
    (awaitTermination [_ _] true)))

(deftest a-pool-that-rejects-is-503
  (with-ring [port log app {:pool rejecting}]
    (let [{:keys [status headers body]} (wire/fetch port "/")]
      (is (= [503 "1" "Server unavailable, please try again"] [status (headers "retry-after") body])))
    (is (wire/eventually #(some #{["failed to submit task to executor service" "full"]} @log)))))

(deftest a-pool-of-a-container-runs-close-handlers
  (let [pool   (Executors/newFixedThreadPool 1)
        heard  (atom 0)
        told   (atom 0)
        thrown (atom [])
        server (start (in-front-of
                        (ring (atom []) (fn [req] (server/as-channel req {:on-close (fn [_ _] (swap! heard inc))}))
                              {:pool (faults/contained pool)})
                        {:close #(try (%) (catch Throwable e (swap! thrown conj e)) (finally (swap! told inc)))}))
        gate   (CountDownLatch. 1)
        webs   (vec (repeatedly 3 #(ws/connect (.getPort server) wire/patience-ms)))]
    (.execute pool #(.await gate))
    (run! ws/disconnect webs)
    (is (wire/eventually #(= 3 @told)))
    (.countDown gate)
    (is (wire/eventually #(= 3 @heard)))
    (is (= [] @thrown))
    (stop! server)
    (.shutdown pool)))

(deftest websockets-hear-everything-in-order
  (let [heard (atom [])]
    (with-ring [port log
                (fn [req]
                  (server/as-channel req
                    {:on-open    #(server/send! % "welcome")
                     :on-receive (fn [ch message]
                                   (swap! heard conj (if (bytes? message) (vec message) message))
                                   (server/send! ch message))
                     :on-ping    (fn [_ data] (swap! heard conj [:ping (String. ^bytes data)]))
                     :on-close   (fn [_ status] (swap! heard conj status))}))
                nil]
      (reset! heard [])
      (let [web      (ws/connect port wire/patience-ms)
            messages (for [i (range 300)] [:text (str "message " i)])]
        (is (= [:text "welcome"] (ws/receive! web)))
        (ws/send! web messages nil)
        (is (= messages (doall (repeatedly 300 #(ws/receive! web)))))
        (ws/send! web [[:binary {:hex "0102"}] [:ping "p"] [:close 1001 "off"]] nil)
        (is (wire/eventually #(= :going-away (peek @heard))))
        (is (= (concat (map second messages) [[1 2] [:ping "p"] :going-away]) @heard))
        (ws/disconnect web)))))

(deftest slow-callbacks-of-one-websocket-do-not-hold-another-up
  (let [gate (CountDownLatch. 1)]
    (with-ring [port log
                (fn [req]
                  (server/as-channel req
                    {:on-receive (fn [ch message]
                                   (when (= "wait" message) (.await gate))
                                   (server/send! ch message))}))
                nil]
      (let [[slow quick] (repeatedly 2 #(ws/connect port wire/patience-ms))]
        (ws/send! slow [[:text "wait"]] nil)
        (ws/send! quick [[:text "go"]] nil)
        (is (= [:text "go"] (ws/receive! quick)))
        (.countDown gate)
        (is (= [:text "wait"] (ws/receive! slow)))
        (run! ws/disconnect [slow quick])))))

;; Behind another handler it has chains of its own.
(deftest a-close-handler-does-not-wait-for-a-callback-that-runs
  (let [open (atom nil) begun (atom nil) heard (atom nil)]
    (with-ring [port log
                (fn [req]
                  (server/as-channel req
                    {:on-receive (fn [_ message]
                                   (swap! heard conj message)
                                   (when (= "wait" message)
                                     (deliver @begun true)
                                     (swap! heard conj (deref @open wire/patience-ms :late))))
                     :on-close   (fn [_ status] (deliver @open status))}))
                {:pool (Executors/newFixedThreadPool 1)}]
      (reset! heard [])
      (run! #(reset! % (promise)) [open begun])
      (let [web (ws/connect port wire/patience-ms)]
        (ws/send! web [[:text "wait"]] nil)
        (is (deref @begun wire/patience-ms false))
        (ws/send! web [[:text "behind"] [:close 1001 "off"]] nil)
        (is (wire/eventually #(= ["wait" :going-away "behind"] @heard)))
        (ws/disconnect web)))))

(deftest a-close-handler-waits-for-any-number-of-callbacks-that-are-quick
  (let [heard (atom []) longest (atom 0)]
    (with-ring [port log
                (fn [req]
                  (server/as-channel req
                    {:on-receive (fn [_ message]
                                   (let [begun (System/nanoTime)]
                                     (Thread/sleep 20)
                                     (swap! heard conj message)
                                     (swap! longest max (- (System/nanoTime) begun))))
                     :on-close   (fn [_ status] (swap! heard conj status))}))
                nil]
      (reset! heard [])
      (reset! longest 0)
      (let [web (ws/connect port wire/patience-ms)]
        (ws/send! web (conj (mapv #(vector :text (str %)) (range 30)) [:close 1001 "off"]) nil)
        (is (wire/eventually #(= 31 (count @heard))))
        (is (or (= (conj (mapv str (range 30)) :going-away) @heard)
                ;; A busy machine made a callback long.
                (< 100000000 (long @longest)))
            (pr-str @heard))
        (ws/disconnect web)))))

(deftest closing-it-shuts-its-pool-down
  (doseq [wrap [identity behind]]
    (let [pool   (Executors/newFixedThreadPool 1)
          server (start (wrap (RingHandler. app false pool)))]
      (is (= "root" (:body (wire/fetch (.getPort server) "/"))))
      (stop! server)
      (is (.isTerminated pool)))))

(deftest a-stop-answers-requests-and-runs-close-handlers-that-wait-in-its-pool
  (doseq [wrap [identity behind]]
    (testing (if (= behind wrap) "behind another handler" "alone")
      (let [pool   (Executors/newFixedThreadPool 1)
            gate   (CountDownLatch. 1)
            begun  (promise)
            heard  (atom [])
            server (start (wrap (ring (atom [])
                                      (fn [{:keys [uri websocket?] :as req}]
                                        (if websocket?
                                          (server/as-channel req {:on-receive (fn [_ message]
                                                                                (if (= "wait" message)
                                                                                  (do (deliver begun true)
                                                                                      (.await gate))
                                                                                  (swap! heard conj message)))
                                                                  :on-close   (fn [_ _] (swap! heard conj uri))})
                                          {:body "x"}))
                                      {:pool pool :quiet? (= identity wrap)})))
            port   (.getPort server)
            webs   (mapv #(ws/connect port wire/patience-ms %) ["/busy" "/queued" "/idle"])]
        (ws/send! (webs 0) [[:text "wait"]] nil)
        (is (deref begun wire/patience-ms false))
        (ws/send! (webs 1) [[:text "queued"]] nil)
        (with-open [conn (wire/connect port)]
          (wire/send! conn (wire/get-request "/"))
          (is (wire/eventually #(= 2 (.size (.getQueue ^ThreadPoolExecutor pool)))))
          (.stop server 300)
          (is (= 503 (:status (wire/answer conn)))))
        (is (wire/eventually #(= (cond-> ["/busy" "/idle" "/queued"] (= behind wrap) (conj "queued")) (sort @heard))))
        (.countDown gate)
        (run! ws/disconnect webs)))))

(deftest a-close-handler-overtakes-nothing-while-the-pool-works-off-its-queue
  (let [gate   (CountDownLatch. 1)
        begun  (promise)
        told   (promise)
        early  (promise)
        heard  (atom [])
        pool   (Executors/newFixedThreadPool 1)
        inner  (ring (atom [])
                     (fn [{:keys [uri] :as req}]
                       (server/as-channel req
                         {:on-receive (fn [_ message]
                                        (if (= "/busy" uri)
                                          (do (deliver begun true) (.await gate))
                                          (swap! heard conj message)))
                          :on-close   (fn [_ _]
                                        (when (= "/queued" uri)
                                          (deliver early true)
                                          (swap! heard conj :close)))}))
                     {:pool pool})
        server (start (in-front-of inner {:frame (fn [pass text] (pass) (when (= "b" text) (deliver told true)))}))
        webs   (mapv #(ws/connect (.getPort server) wire/patience-ms %) ["/busy" "/queued"])]
    (ws/send! (webs 0) [[:text "a"]] nil)
    (is (deref begun wire/patience-ms false))
    (ws/send! (webs 1) [[:text "b"]] nil)
    (is (deref told wire/patience-ms false))
    (let [stopped (future (.stop server wire/patience-ms))]
      (run! ws/disconnect webs)
      (is (wire/eventually #(.isShutdown pool)))
      (is (= :waits (deref early 700 :waits)))
      (.countDown gate)
      (is (wire/eventually #(= ["b" :close] @heard)) (pr-str @heard))
      @stopped)))

(deftest the-constructor-with-a-number-of-threads-makes-the-pool
  (let [gate   (CountDownLatch. 1)
        names  (atom #{})
        server (start (RingHandler. 1
                                    (fn [_]
                                      (swap! names conj (.getName (Thread/currentThread)))
                                      (.await gate)
                                      {:body "done"})
                                    false "ring-test-" 1 "http-kit"))
        port   (.getPort server)
        conns  (vec (repeatedly 3 #(wire/connect port)))]
    (run! #(wire/send! % (wire/get-request "/")) conns)
    ;; One runs, one waits, one is refused, whichever it is.
    (is (wire/eventually #(= 1 (count @names))))
    (is (wire/eventually (fn [] (some #(pos? (.available ^java.io.InputStream (:in %))) conns))))
    (.countDown gate)
    (is (= [200 200 503] (sort (map #(:status (wire/answer %)) conns))))
    (is (= #{"ring-test-1"} @names))
    (run! #(.close ^java.io.Closeable %) conns)
    (stop! server)))

(deftest a-handler-in-front-can-see-and-change-the-bytes
  (let [seen   (atom nil)
        inner  (ring (atom []) app nil)
        outer  (reify IHandler
                 (^void handle [_ ^HttpRequest request ^RespCallback callback]
                   (.handle inner request
                            (proxy [RespCallback] [nil nil]
                              (run [buffers]
                                (let [^objects buffers buffers
                                      text (apply str (map #(str (.decode java.nio.charset.StandardCharsets/UTF_8
                                                                          (.duplicate ^ByteBuffer %)))
                                                           buffers))]
                                  (reset! seen text)
                                  (.run callback
                                        (into-array ByteBuffer
                                                    [(ByteBuffer/wrap (.getBytes ^String (str/replace text "root" "leaf")))])))))))
                 (^void handle [_ ^AsyncChannel _ ^Frame _])
                 (clientClose [_ _ _])
                 (close [_ timeout] (.close inner timeout)))
        server (start outer)]
    (is (= "leaf" (:body (wire/fetch (.getPort server) "/"))))
    (is (str/ends-with? @seen "\r\n\r\nroot"))
    (stop! server)))

(deftest a-request-made-by-hand-reaches-the-function
  (let [log      (atom [])
        seen     (promise)
        response (promise)
        callback (proxy [RespCallback] [nil nil]
                   (run [buffers] (deliver response (str/join (map #(.decode StandardCharsets/ISO_8859_1 ^ByteBuffer %) buffers)))))
        run      (fn [request]
                   (doto (ring log #(do (deliver seen %) {:status 201 :body "made"}) {})
                     (.handle ^HttpRequest request ^RespCallback callback)
                     (.close wire/patience-ms)))]
    (run (doto (HttpRequest. HttpMethod/POST "/a?b=c" HttpVersion/HTTP_1_1)
           (.setHeaders {"x-one" "1" "x-forwarded-for" "10.0.0.1"})
           (.setBody (.getBytes "text") 4)))
    (let [{:keys [body] :as request} (deref seen wire/patience-ms nil)]
      (is (= {:request-method :post :uri "/a" :query-string "b=c" :protocol "HTTP/1.1" :scheme :http
              :headers {"x-one" "1" "x-forwarded-for" "10.0.0.1"} :remote-addr "10.0.0.1" :content-length 4}
             (dissoc request :body)))
      (is (= "text" (slurp body))))
    (is (str/starts-with? (deref response wire/patience-ms "") "HTTP/1.1 201 Created\r\n"))
    (is (str/ends-with? @response "\r\n\r\nmade"))
    (is (= [(str (.serverStatusPrefix EventNames/DEFAULT) 201)] @log))))
