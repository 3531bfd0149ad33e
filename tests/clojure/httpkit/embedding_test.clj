(ns httpkit.embedding-test
  "Servers with an `IHandler`: the program in tests/java/embedder, and handlers written here."
  (:require [clojure.string       :as str]
            [clojure.test         :refer [are deftest is testing use-fixtures]]
            [httpkit.java-program :as java-program]
            [httpkit.wire         :as wire]
            [httpkit.ws-wire      :as ws])
  (:import (java.io ByteArrayOutputStream PrintStream)
           (java.net InetSocketAddress StandardSocketOptions)
           (java.nio ByteBuffer)
           (java.nio.channels ServerSocketChannel)
           (java.util Queue)
           (org.httpkit HeaderMap HttpMethod HttpUtils HttpVersion)
           (org.httpkit.jni Native)
           (org.httpkit.logger ContextLogger EventLogger EventNames)
           (org.httpkit.server AsyncChannel Frame Frame$TextFrame HttpRequest HttpServer HttpServer$AddressFinder
                               HttpServer$ServerChannelFactory HttpServer$Status IHandler ProxyProtocolOption
                               RespCallback)))

(set! *warn-on-reflection* true)

(def ^:private program
  (delay (java-program/loader
           (java-program/compile! "tests/java/embedder" (System/getProperty "java.class.path"))
           (.getClassLoader HttpServer))))

(defn- new-handler ^IHandler []
  (.newInstance (.getConstructor (Class/forName "embedder.Embedder$Handler" true @program) (make-array Class 0))
                (object-array 0)))

(defn- calls
  "What the program's handler was called with, requests aside."
  [^IHandler handler]
  (vec (seq ^Queue (.get (.getField (class handler) "calls") handler))))

(defn- overlapped? [^IHandler handler]
  (.invoke (.getMethod (class handler) "overlapped" (make-array Class 0)) handler (object-array 0)))

(defn- new-server ^HttpServer [^IHandler handler]
  (HttpServer. "127.0.0.1" 0 handler (bit-shift-left 1 20) 8192 (bit-shift-left 1 20) ProxyProtocolOption/DISABLED))

(defn- stop!
  "Stops a server, and waits until it is."
  [^HttpServer server timeout]
  (.stop server (int timeout))
  (is (wire/eventually #(= HttpServer$Status/STOPPED (.getStatus server)))))

(defn- stderr-of
  "What `f` prints to standard error."
  [f]
  (let [old System/err
        out (ByteArrayOutputStream.)]
    (System/setErr (PrintStream. out true))
    (try (f) (finally (System/setErr old)))
    (str out)))

(defmacro ^:private with-handler
  "Runs `body` with `port` of a server with `handler`."
  [[port handler] & body]
  `(let [server# (new-server ~handler)]
     (.start server#)
     (try (let [~port (.getPort server#)] ~@body)
          (finally (stop! server# 1000)))))

(use-fixtures :once
  (fn [run-tests]
    (let [before (Native/liveHandles)]
      (run-tests)
      (is (wire/eventually #(<= (Native/liveHandles) before)) "no handle is left"))))

(defn- post [path ^String body]
  (str "POST " path " HTTP/1.1\r\nHost: h\r\nContent-Length: " (count body) "\r\n\r\n" body))

;;;; Requests

(deftest one-connection-carries-many-encoded-answers
  (let [handler (new-handler)]
    (with-handler [port handler]
      (with-open [conn (wire/connect port)]
        (dotimes [i 20]
          (wire/send! conn (wire/get-request (str "/hello?" i)))
          (let [{:keys [status headers body]} (wire/answer conn)]
            (is (= [200 (str "hello " i) "embedder"] [status body (headers "x-by")]))
            (is (headers "date"))
            (is (nil? (headers "server")) "none was asked for")))
        (wire/send! conn (wire/get-request "/nowhere"))
        (is (= [404 ""] ((juxt :status :body) (wire/answer conn))))))
    (is (= ["close 1000"] (calls handler)))))

(deftest a-handler-sees-the-request
  (with-handler [port (new-handler)]
    (are [request said] (= said (:body (wire/fetch port request)))
      (wire/get-request "/request" ["X-Name" "a"])
      "GET HTTP_1_1 127.0.0.1 a"
      (wire/get-request "/request" ["X-Name" "a"] ["x-name" "b"] ["X-Forwarded-For" "10.0.0.1, 10.0.0.2"])
      "GET HTTP_1_1 10.0.0.1 a,b"
      "PATCH /request HTTP/1.0\r\n\r\n"
      "PATCH HTTP_1_0 127.0.0.1 null"
      (post "/echo" "a body")
      "a body"
      (wire/get-request "/echo")
      "")
    (testing "methods that HttpMethod has no constant for are refused, as http-kit does"
      (with-open [conn (wire/connect port)]
        (wire/send! conn "QUERY /hello HTTP/1.1\r\nHost: h\r\n\r\n" (wire/get-request "/hello?next"))
        (is (= 400 (:status (wire/answer conn))))
        (is (= "hello next" (:body (wire/answer conn))))))))

(deftest pipelined-requests-get-their-responses-in-order-whichever-thread-responds
  (with-handler [port (new-handler)]
    (with-open [conn (wire/connect port)]
      (wire/send! conn (str/join (for [i (range 50)]
                                   (wire/get-request (if (odd? i) "/later" (str "/hello?" i))))))
      (is (= (for [i (range 50)] (if (odd? i) "later" (str "hello " i)))
             (repeatedly 50 #(:body (wire/answer conn))))))))

(deftest head-gets-the-head-alone
  (with-handler [port (new-handler)]
    (with-open [conn (wire/connect port)]
      (wire/send! conn "HEAD /hello?you HTTP/1.1\r\nHost: h\r\n\r\n"
                  "HEAD /large?300000 HTTP/1.1\r\nHost: h\r\n\r\n"
                  (wire/get-request "/hello?next"))
      (is (= "9" (get-in (wire/answer conn :head? true) [:headers "content-length"])))
      (is (= "300000" (get-in (wire/answer conn :head? true) [:headers "content-length"])))
      (is (= "hello next" (:body (wire/answer conn)))))))

(deftest large-bodies-arrive-whole
  (with-handler [port (new-handler)]
    (with-open [conn (wire/connect port)]
      (doseq [size [65000 65536 70000 20000000]]
        (wire/send! conn (wire/get-request (str "/large?" size)))
        (let [^bytes body (:body (wire/answer conn :raw? true))]
          (is (= size (alength body)))
          (is (every? #(= (unchecked-byte (* 31 (long %))) (aget body %))
                      (concat (range 0 (min size 70000) 997) [(dec size)])))))
      (wire/send! conn (wire/get-request "/hello?still"))
      (is (= "hello still" (:body (wire/answer conn)))))))

(deftest only-the-first-response-counts
  (with-handler [port (new-handler)]
    (with-open [conn (wire/connect port)]
      (wire/send! conn (wire/get-request "/twice") (wire/get-request "/hello?next"))
      (is (= ["first" "hello next"] (repeatedly 2 #(:body (wire/answer conn))))))))

(deftest what-a-handler-throws-is-printed-and-answered-with-500
  (with-handler [port (new-handler)]
    (let [printed (stderr-of
                    #(with-open [conn (wire/connect port)]
                       (wire/send! conn (wire/get-request "/throw") (wire/get-request "/answer-and-throw")
                                   (wire/get-request "/hello?next"))
                       (is (= [[500 "no luck"] [200 "answered"] [200 "hello next"]]
                              (repeatedly 3 (fn [] ((juxt :status :body) (wire/answer conn))))))))]
      (is (str/includes? printed "ERROR - GET /throw"))
      (is (str/includes? printed "IllegalStateException: too late")))))

(deftest connections-go-on-only-where-both-sides-know-where-an-answer-ends
  (with-handler [port (new-handler)]
    (doseq [[about goes-on? request]
            [["a length"              true  (post "/raw" "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")]
             ["chunks"                true  (post "/raw" "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")]
             ["a status without body" true  (post "/raw" "HTTP/1.1 204 No Content\r\n\r\n")]
             ["a body where none is"  true  (post "/raw" "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok")]
             ["no length"             false (post "/raw" "HTTP/1.1 200 OK\r\n\r\nok")]
             ["a length that is none" false (post "/raw" "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok")]
             ["too great a length"    false (post "/raw" "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok")]
             ["too small a length"    false (post "/raw" "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nok")]
             ["two lengths"           false (post "/raw" "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok")]
             ["the answer ends it"    false (wire/get-request "/close")]
             ["the request ends it"   false (wire/get-request "/hello?x" ["Connection" "close"])]
             ["HTTP/1.0"              false "GET /hello?x HTTP/1.0\r\n\r\n"]
             ["HTTP/1.0, kept by one" false "GET /hello?x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"]
             ["HTTP/1.0, kept by both" true
              (let [answer "HTTP/1.1 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok"]
                (str "POST /raw HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: " (count answer) "\r\n\r\n" answer))]]]
      (testing about
        (with-open [conn (wire/connect port)]
          (wire/send! conn request (wire/get-request "/request" ["X-Name" "the-next"] ["Connection" "close"]))
          (let [all (wire/read-rest conn)]
            (is (str/starts-with? all "HTTP/1.1 "))
            (is (= goes-on? (str/includes? all "the-next")) all)))))))

(deftest bytes-that-are-no-answer-are-refused-and-the-request-still-gets-one
  (with-handler [port (new-handler)]
    (stderr-of
      #(doseq [bytes ["nonsense" "HTTP/1.1 200 OK\r\n" "HTTP/1.1 abc\r\n\r\n" "HTTP/1.1 100 Continue\r\n\r\n"
                      "HTTP/1.1 101 Switching Protocols\r\n\r\n" "HTTP/1.1 200 OK\r\nno colon\r\n\r\n"]]
         (let [{:keys [status body]} (wire/fetch port (post "/raw" bytes))]
           (is (= [500 "the bytes are not an encoded final response"] [status body]) bytes))))))

(deftest a-half-closed-peer-gets-its-answer
  (with-handler [port (new-handler)]
    (with-open [conn (wire/connect port)]
      (wire/send! conn (wire/get-request "/later"))
      (wire/half-close! conn)
      (is (= "later" (:body (wire/answer conn)))))))

(defn- keeping-handler
  "Keeps each callback in `kept`, and counts calls of `clientClose`."
  ^IHandler [kept closings]
  (reify IHandler
    (^void handle [_ ^HttpRequest _ ^RespCallback callback] (deliver kept callback))
    (^void handle [_ ^AsyncChannel _ ^Frame _])
    (clientClose [_ channel code]
      (.clientClose ^IHandler _ channel code ""))
    (clientClose [_ _ code _] (swap! closings conj code))
    (close [_ _])))

(deftest a-client-that-leaves-before-its-response-is-reported-at-once
  (doseq [[about leave] {"closes" #(.close ^java.io.Closeable %), "half-closes" wire/half-close!, "resets" wire/reset!!}]
    (testing about
      (let [kept (promise), closings (atom [])]
        (with-handler [port (keeping-handler kept closings)]
          (with-open [conn (wire/connect port)]
            (wire/send! conn (wire/get-request "/"))
            (is (deref kept wire/patience-ms false))
            (leave conn)
            ;; Less than a peer that has ended its side may wait for its response.
            (is (wire/eventually 5000 #(= [-1] @closings)))))
        (is (= [-1] @closings) "once")))))

(deftest a-half-closed-client-whose-leaving-was-reported-still-gets-its-response
  (let [kept (promise), closings (atom [])]
    (with-handler [port (keeping-handler kept closings)]
      (with-open [conn (wire/connect port)]
        (wire/send! conn (wire/get-request "/"))
        (wire/half-close! conn)
        (is (wire/eventually #(= [-1] @closings)))
        (.run ^RespCallback @kept (into-array ByteBuffer (seq (HttpUtils/HttpEncode 200 (HeaderMap.) "late"))))
        (is (= "late" (:body (wire/answer conn))))
        (is (wire/closed? conn))))
    (is (= [-1] @closings) "once")))

(deftest one-thread-calls-a-handler
  (let [handler (new-handler)]
    (with-handler [port handler]
      (is (= {200 400}
             (->> (range 8)
                  (mapv (fn [_] (future (vec (repeatedly 50 #(:status (wire/fetch port "/hello?x")))))))
                  (mapcat deref)
                  (frequencies)))))
    (is (not (boolean (overlapped? handler))))))

(deftest channels-stream
  (with-handler [port (new-handler)]
    (with-open [conn (wire/connect port)]
      (wire/send! conn (wire/get-request "/stream") (wire/get-request "/hello?next"))
      (is (= ["onetwo" "hello next"] (repeatedly 2 #(:body (wire/answer conn))))))))

;;;; Closing

(deftest a-peer-that-leaves-a-kept-request-is-reported
  (doseq [leave [#(.close ^java.io.Closeable %) wire/half-close! wire/reset!!]]
    (let [handler (new-handler)]
      (with-handler [port handler]
        (let [conn (wire/connect port)]
          (wire/send! conn (wire/get-request "/keep"))
          (is (wire/eventually #(= ["kept"] (calls handler))))
          (leave conn)
          (is (wire/eventually #(= ["kept" "clientClose -1 "] (calls handler))))
          (.close ^java.io.Closeable conn))))))

(deftest a-stop-reports-what-it-cuts-and-closes-the-handler
  (let [handler (new-handler)
        server  (new-server handler)]
    (.start server)
    (let [port (.getPort server)
          kept (wire/connect port)
          _    (wire/send! kept (wire/get-request "/keep"))
          _    (is (wire/eventually #(= ["kept"] (calls handler))))]
      (stop! server 250)
      (is (wire/closed? kept))
      (is (= "kept" (first (calls handler))))
      (is (wire/eventually #(= {"close 250" 1 "clientClose -1 " 1} (dissoc (frequencies (calls handler)) "kept"))))
      (is (false? (.start server)) "a stopped server stays stopped"))))

(deftest requests-on-open-connections-are-served-while-a-server-stops
  (let [handler (new-handler)
        server  (new-server handler)
        kept    (promise)
        slow    (keeping-handler kept (atom []))
        other   (new-server slow)]
    (.start server)
    (.start other)
    (with-open [conn (wire/connect (.getPort server))
                held (wire/connect (.getPort other))]
      (wire/send! conn (wire/get-request "/hello?x"))
      (is (= "hello x" (:body (wire/answer conn))))
      (wire/send! conn "GET /hello?y HTTP/1.1\r\n")
      (wire/send! held (wire/get-request "/"))
      (is (deref kept wire/patience-ms false))
      (let [stops [(future (.stop server (int 20000))) (future (.stop other (int 20000)))]]
        (is (wire/eventually #(= [HttpServer$Status/STOPPING HttpServer$Status/STOPPING]
                                 [(.getStatus server) (.getStatus other)])))
        (testing "one that comes on an open connection"
          (wire/send! conn "Host: h\r\n\r\n")
          (is (= [200 "hello y" "Close"]
                 ((juxt :status :body #(get-in % [:headers "connection"])) (wire/answer conn))))
          (is (wire/closed? conn)))
        (testing "one that is answered later"
          (.run ^RespCallback @kept (into-array ByteBuffer (seq (HttpUtils/HttpEncode 200 (HeaderMap.) "late"))))
          (is (= [200 "late" "Close"]
                 ((juxt :status :body #(get-in % [:headers "connection"])) (wire/answer held)))))
        (is (= [true true] (map #(deref % wire/patience-ms :hangs) stops)))))))

(deftest requests-that-come-when-the-handler-is-closed-get-503
  (let [closing (promise)
        served  (promise)
        handler (reify IHandler
                  (^void handle [_ ^HttpRequest _ ^RespCallback callback]
                    (.run callback (HttpUtils/HttpEncode 200 (HeaderMap.) "ok")))
                  (^void handle [_ ^AsyncChannel _ ^Frame _])
                  (clientClose [_ _ _])
                  (close [_ _]
                    (deliver closing true)
                    (deref served wire/patience-ms nil)))
        server  (new-server handler)]
    (.start server)
    (with-open [conn (wire/connect (.getPort server))]
      ;; Half a request has arrived, behind a whole one, so that the connection is not idle when the server stops.
      (wire/send! conn (str (wire/get-request "/") "GET / HTTP/1.1\r\n"))
      (is (= 200 (:status (wire/answer conn))))
      (let [stopped (future (.stop server (int 60000)))]
        (is (deref closing wire/patience-ms false))
        (wire/send! conn "Host: h\r\n\r\n")
        (is (= [503 "Close"] ((juxt :status #(get-in % [:headers "connection"])) (wire/answer conn))))
        (deliver served true)
        (is (true? (deref stopped wire/patience-ms :hangs)))))))

(deftest a-handler-may-stop-its-own-server
  (let [server  (promise)
        stopped (promise)
        closed  (promise)
        handler (reify IHandler
                  (^void handle [_ ^HttpRequest _ ^RespCallback callback]
                    (.run callback (HttpUtils/HttpEncode 200 (HeaderMap.) "last"))
                    (deliver stopped (.stop ^HttpServer @server (int wire/patience-ms))))
                  (^void handle [_ ^AsyncChannel _ ^Frame _])
                  (clientClose [_ _ _])
                  (close [_ timeout] (deliver closed timeout)))]
    (deliver server (doto (new-server handler) (.start)))
    (is (= "last" (:body (wire/fetch (.getPort ^HttpServer @server) "/"))))
    (is (< (quot wire/patience-ms 2) (long (deref closed 10000 0))) "it does not wait for itself")
    (is (true? (deref stopped wire/patience-ms nil)))
    (is (wire/eventually #(= HttpServer$Status/STOPPED (.getStatus ^HttpServer @server))))))

(deftest a-handler-that-does-not-end-is-interrupted-when-the-time-of-a-stop-is-over
  (let [began       (promise)
        interrupted (promise)
        closed      (promise)
        handler     (reify IHandler
                      (^void handle [_ ^HttpRequest _ ^RespCallback _]
                        (deliver began true)
                        (try (Thread/sleep wire/patience-ms)
                             (catch InterruptedException _ (deliver interrupted true))))
                      (^void handle [_ ^AsyncChannel _ ^Frame _])
                      (clientClose [_ _ _])
                      (close [_ timeout] (deliver closed timeout)))
        server      (new-server handler)]
    (.start server)
    (with-open [conn (wire/connect (.getPort server))]
      (wire/send! conn (wire/get-request "/"))
      (is (deref began wire/patience-ms false))
      (stop! server 50)
      (is (true? (deref interrupted wire/patience-ms false)))
      (is (= 0 (deref closed wire/patience-ms nil)) "no time is left"))))

(deftest run-serves-until-the-server-stops
  (let [server (new-server (new-handler))
        runner (Thread. server)]
    (.start runner)
    (is (wire/eventually #(= HttpServer$Status/RUNNING (.getStatus server))))
    (is (= 200 (:status (wire/fetch (.getPort server) "/hello?x"))))
    (.run server)
    (is (.isAlive runner) "a second run does nothing")
    (stop! server 100)
    (.join runner wire/patience-ms)
    (is (not (.isAlive runner)))))

;;;; WebSockets

(defn- websocket
  "An open WebSocket to a path of the program's handler."
  [port path]
  (with-redefs [ws/handshake (str/replace ws/handshake "GET / " (str "GET " path " "))]
    (ws/connect port wire/patience-ms)))

(deftest frames-reach-the-handler-whichever-code-made-the-handshake
  (doseq [path ["/websocket" "/websocket-by-hand"]]
    (testing path
      (let [handler (new-handler)]
        (with-handler [port handler]
          (let [web (websocket port path)]
            (ws/send! web [[:text "hi"] [:binary {:hex "00ff"}] [:text {:of "x" :times 200000}] [:ping "p"] [:pong "q"]
                           [:text {:of "y" :times 30} {:fragments 7}]] 1000)
            (let [answers (doall (repeatedly 5 #(ws/receive! web)))]
              ;; A pong does not wait for the handler.
              (is (= [[:text "echo: hi"] [:binary "\u0000\u00ff"] [:text 200006]
                      [:text (str "echo: " (apply str (repeat 30 "y")))]]
                     (for [[op said] answers :when (not= :pong op)] [op (if (vector? said) (first said) said)])))
              (is (some #{[:pong "p"]} answers)))
            (ws/send! web [[:close 4001 "had enough"]] nil)
            (is (= [:close 4001 "had enough"] (ws/receive! web)))
            (is (= :closed (ws/receive! web)))
            (is (wire/eventually #(= ["TextFrame[len=2]" "BinaryFrame[len=2]" "TextFrame[len=200000]" "PingFrame[len=1]"
                                      "PongFrame[len=1]" "TextFrame[len=30]" "clientClose 4001 had enough"]
                                     (calls handler))))
            (ws/disconnect web)))))))

(deftest frames-sent-right-behind-the-handshake-are-not-lost
  (let [handler (new-handler)]
    (with-handler [port handler]
      (with-open [conn (wire/connect port)]
        (wire/send! conn (str/replace ws/handshake "GET / " "GET /websocket-by-hand ")
                    (first (ws/frame-bytes [:text "early"])))
        (is (= 101 (:status (wire/read-head conn))))
        (is (= [:text "echo: early"] (ws/receive! {:in (java.io.DataInputStream. (:in conn))})))))))

(deftest what-a-frame-makes-a-handler-throw-is-printed-and-the-websocket-goes-on
  (with-handler [port (new-handler)]
    (let [web     (websocket port "/websocket")
          printed (stderr-of #(do (ws/send! web [[:text "throw"] [:text "on"]] nil)
                                  (is (= [:text "echo: on"] (ws/receive! web)))))]
      (is (str/includes? printed "handle websocket frame TextFrame[len=5]"))
      (ws/disconnect web))))

(deftest closings-are-reported-unless-the-handler-made-them
  (let [handler (new-handler)]
    (with-handler [port handler]
      (let [dropped (websocket port "/websocket")]
        (ws/disconnect dropped)
        (is (wire/eventually #(= ["clientClose 1001 "] (calls handler)))))
      (let [web (websocket port "/websocket")]
        (ws/send! web [[:text "close"]] nil)
        (is (= [:close 4000 "as you like"] (ws/receive! web)))
        (ws/send! web [[:close 4000]] nil)
        (is (= :closed (ws/receive! web)))
        (ws/disconnect web)))
    (is (= ["clientClose 1001 " "TextFrame[len=5]" "close 1000"] (calls handler))))
  (testing "a stop is reported with 0"
    (let [handler (new-handler)
          server  (new-server handler)]
      (.start server)
      (let [web (websocket (.getPort server) "/websocket")]
        (stop! server 100)
        (is (= [:close 1001 ""] (ws/receive! web)))
        (is (wire/eventually #(= #{"close 100" "clientClose 0 "} (set (calls handler)))))
        (ws/disconnect web)))))

(deftest many-websockets-take-turns
  (let [handler (new-handler)]
    (with-handler [port handler]
      (let [busy (websocket port "/websocket")
            calm (websocket port "/websocket")
            n    2000]
        (ws/send! busy (repeat n [:text "busy"]) nil)
        (ws/send! calm [[:text "calm"]] nil)
        (is (= [:text "echo: calm"] (ws/receive! calm)))
        (is (= (repeat n [:text "echo: busy"]) (doall (repeatedly n #(ws/receive! busy)))))
        (run! ws/disconnect [busy calm])))))

;;;; Constructors and classes

(deftest a-handler-need-not-know-of-reasons
  (let [heard   (promise)
        handler (reify IHandler
                  (^void handle [_ ^HttpRequest request ^RespCallback _]
                    (.sendHandshake (.getChannel request) {"Upgrade" "websocket"}))
                  (^void handle [_ ^AsyncChannel _ ^Frame _])
                  (clientClose [_ _ status] (deliver heard status))
                  (close [_ _]))]
    (with-handler [port handler]
      (let [web (ws/connect port wire/patience-ms)]
        (ws/send! web [[:close 1000 "bye"]] nil)
        (is (= 1000 (deref heard wire/patience-ms :nothing)))
        (ws/disconnect web)))))

(deftest the-constructors-with-13-arguments-take-loggers-and-one-where-to-listen
  (let [log      (atom [])
        warnings (reify ContextLogger (log [_ message error] (swap! log conj [:warning message (class error)])))
        events   (reify EventLogger (log [_ event] (swap! log conj event)))
        finder   (reify HttpServer$AddressFinder
                   (findAddress [_] (swap! log conj :find) (InetSocketAddress. "127.0.0.1" 0)))
        factory  (reify HttpServer$ServerChannelFactory
                   (createChannel [_ address]
                     (swap! log conj [:create (class address)])
                     (doto (ServerSocketChannel/open)
                       (.setOption StandardSocketOptions/SO_RCVBUF (int 32768)))))
        handler  (new-handler)
        errors   (reify ContextLogger (log [_ message error] (swap! log conj [:error message (ex-message error)])))
        server   (HttpServer. finder factory handler 10 100 10 ProxyProtocolOption/OPTIONAL "embedded" true
                              errors warnings events (EventNames. {"serverStatus413" "too-much"}))]
    (is (= "embedded" (.serverHeader server)))
    (is (= [:find [:create InetSocketAddress]] @log) "each once, in this order")
    (reset! log [])
    (.start server)
    (let [port (.getPort server)]
      (is (= "embedded" (get-in (wire/fetch port (post "/echo" "01234567890")) [:headers "server"])))
      (is (= 414 (:status (wire/fetch port (wire/get-request (str "/hello?" (apply str (repeat 200 "x"))))))))
      (is (= 200 (:status (wire/fetch port (str "PROXY TCP4 10.0.0.1 10.0.0.2 1 80\r\n" (wire/get-request "/hello"))))))
      (let [web (websocket port "/websocket")]
        (ws/send! web [[:text "01234567890"]] nil)
        (is (= [:close 1009 ""] (ws/receive! web)))
        (ws/disconnect web))
      (is (= 500 (:status (wire/fetch port "/throw"))))
      (is (wire/eventually #(= #{[:error "GET /throw" "no luck"] "httpkit.server.status.500" "too-much" "httpkit.server.status.414" "httpkit.server.ws.decode.error"
                                 [:warning nil org.httpkit.server.WebSocketException]}
                               (set @log)))))
    (stop! server 100)))

(deftest every-constructor-of-2-9-makes-a-server
  (let [log     (atom [])
        logger  (fn [kind] (reify ContextLogger (log [_ message error] (swap! log conj [kind message (some-> ^Throwable error .getMessage)]))))
        surface (Class/forName "surface.Surface" true
                               (java-program/loader
                                 (java-program/compile! "tests/java/surface" (System/getProperty "java.class.path"))
                                 (.getClassLoader HttpServer)))
        method  (fn ^java.lang.reflect.Method [method-name]
                  (first (filter #(= method-name (.getName ^java.lang.reflect.Method %)) (.getMethods surface))))
        app     (fn [{:keys [uri async-channel]}]
                  (case uri
                    "/throw"   (throw (ex-info "no luck" {}))
                    "/channel" (do (.send ^AsyncChannel async-channel {:headers {"Content-Length" "77"} :body "four"} true)
                                   {:body async-channel})
                    {:headers {"Content-Length" "77"} :body "four"}))
        servers (.invoke ^java.lang.reflect.Method (method "servers") nil
                         (object-array [app (logger :error) (logger :warning)
                                        (reify EventLogger (log [_ event] (swap! log conj event)))]))
        head    (fn [^HttpServer server path]
                  (with-open [conn (wire/connect (.getPort server))]
                    (wire/send! conn (str "HEAD " path " HTTP/1.1\r\nHost: h\r\n\r\n"))
                    (let [{:keys [status headers]} (wire/answer conn :head? true)]
                      [status (headers "server") (headers "content-length")])))]
    (is (every? #(re-find #"\[127.0.0.1:\d+, not started, connections 0, channels 0\]$" (str %)) servers))
    (doseq [^HttpServer server servers]
      (is (= true (.invoke ^java.lang.reflect.Method (method "start") nil (object-array [server])))))
    (try
      (is (= [[200 "http-kit" "4"] [200 "seven" "4"] [200 "finder" "4"] [200 "last" "77"]] (map #(head % "/") servers)))
      (is (= ["4" "4" "4" "77"] (map #(peek (head % "/channel")) servers)) "and so for what is sent on a channel")
      (is (= [500 500 500 500] (map #(first (head % "/throw")) servers)))
      (finally (run! #(stop! % 1000) servers)))))

(deftest nothing-passes-a-negative-limit
  (let [server (doto (HttpServer. "127.0.0.1" 0 (new-handler) -1 8192 -1 ProxyProtocolOption/DISABLED) (.start))]
    (try
      (let [status #(:status (wire/fetch (.getPort server) %))]
        (is (= 404 (status "/")) "the handler's own")
        (is (= 413 (status "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx"))))
      (finally (.stop server 1000))))
  (let [server (doto (HttpServer. "127.0.0.1" 0 (new-handler) 10 -1 10 ProxyProtocolOption/DISABLED) (.start))]
    (try
      (is (= 414 (:status (wire/fetch (.getPort server) "/"))))
      (finally (.stop server 1000)))))

(deftest addresses-that-cannot-be-had-are-exceptions
  (with-handler [port (new-handler)]
    (is (thrown? java.net.BindException
                 (HttpServer. "127.0.0.1" (int port) (new-handler) 10 100 10 ProxyProtocolOption/DISABLED))))
  (is (thrown? java.nio.channels.UnresolvedAddressException
               (HttpServer. "no.such.host.invalid" 1 (new-handler) 10 100 10 ProxyProtocolOption/DISABLED))))

(deftest requests-made-by-hand-are-values
  (let [request (HttpRequest. HttpMethod/POST "/a?b?c" HttpVersion/HTTP_1_0)]
    (is (= [HttpMethod/POST "/a" "b?c" HttpVersion/HTTP_1_0 {} nil nil nil]
           [(.method request) (.uri request) (.queryString request) (.version request) (.headers request)
            (.getBody request) (.getRemoteAddr request) (.getChannel request)])))
  (is (= ["/a" nil] ((juxt #(.uri ^HttpRequest %) #(.queryString ^HttpRequest %))
                     (HttpRequest. HttpMethod/GET "/a" HttpVersion/HTTP_1_1)))))

(deftest a-callback-of-no-request-does-nothing
  (is (nil? (.run (RespCallback. nil nil) (HttpUtils/HttpEncode 200 (HeaderMap.) "x")))))

(deftest a-closed-channel-can-become-that-of-another-request
  (let [kept    (atom nil)
        closed  (atom [])
        handler (reify IHandler
                  (^void handle [_ ^HttpRequest request ^RespCallback callback]
                    (if-let [^AsyncChannel channel @kept]
                      (do (.reset channel request)
                          (is (identical? channel (.getChannel request)))
                          (is (not (.isClosed channel)))
                          (is (thrown? IllegalStateException (.reset channel request)) "it is in use"))
                      (reset! kept (.getChannel request)))
                    (.setCloseHandler ^AsyncChannel @kept
                                      (fn [cause] (swap! closed conj [(.uri request) cause])))
                    (if (= "/channel" (.uri request))
                      (.send ^AsyncChannel @kept "by channel" true)
                      (.run callback (HttpUtils/HttpEncode 200 (HeaderMap.) "by callback"))))
                  (^void handle [_ ^AsyncChannel _ ^Frame _])
                  (clientClose [_ _ _])
                  (close [_ _]))]
    (with-handler [port handler]
      (with-open [conn (wire/connect port)]
        (doseq [path ["/channel" "/callback" "/channel" "/callback" "/callback"]]
          (wire/send! conn (wire/get-request path))
          (is (= (str "by " (subs path 1)) (:body (wire/answer conn))))))
      (is (wire/eventually #(= 5 (count @closed))))
      (is (= #{:server-close} (set (map second @closed)))))))
