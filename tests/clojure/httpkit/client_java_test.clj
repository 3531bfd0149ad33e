(ns httpkit.client-java-test
  "The client as Java programs use it: constructors, `exec`, listeners, configs and parts made by hand."
  (:require [clojure.string       :as str]
            [clojure.test         :refer [are deftest is testing]]
            [httpkit.client-certs :as certs]
            [httpkit.client-peer  :as peer]
            [httpkit.wire         :as wire]
            [org.httpkit.client   :as client]
            [org.httpkit.server   :as server])
  (:import (java.io ByteArrayInputStream File)
           (java.net InetAddress InetSocketAddress SocketAddress URI)
           (java.nio ByteBuffer)
           (java.nio.channels SocketChannel)
           (java.util LinkedHashMap Map)
           (java.util.concurrent CancellationException ExecutorService Executors)
           (javax.net.ssl SSLEngine)
           (org.httpkit HttpMethod HttpStatus HttpVersion ProtocolException)
           (org.httpkit.client AbortException ClientSslEngineFactory HttpClient HttpClient$AddressFinder
                               HttpClient$ChannelFactory HttpClient$SSLEngineURIConfigurer IFilter
                               IFilter$MaxBodyFilter IRespListener IResponseHandler MultipartEntity RequestConfig
                               RespListener TimeoutException)
           (org.httpkit.logger ContextLogger EventLogger EventNames)))

(set! *warn-on-reflection* true)

(def ^:private patience-ms 30000)

(defn- await! [p] (deref p patience-ms :nothing))

(defn- recorder
  "An `IRespListener`, and a promise of what it was called with."
  []
  (let [events (atom [])
        over   (promise)
        end    #(deliver over (conj @events %))]
    [(reify IRespListener
       (onInitialLineReceived [_ version status] (swap! events conj [version status]))
       (onHeadersReceived [_ headers] (swap! events conj (into {} headers)))
       (onBodyReceived [_ buffer n] (swap! events conj (String. buffer 0 n "ISO-8859-1")))
       (onCompleted [_] (end :completed))
       (onThrowable [_ t] (end (class t))))
     over]))

(defn- exec
  "What a recording listener hears of a request."
  ([client url] (exec client url (RequestConfig.) nil))
  ([^HttpClient client ^String url ^RequestConfig config ^SSLEngine engine]
   (let [[listener over] (recorder)]
     (is (nil? (.exec client url config engine listener)))
     (await! over))))

(defmacro ^:private with-client [[client form] & body]
  `(let [~(with-meta client {:tag `HttpClient}) ~form]
     (try ~@body (finally (.stop ~client)))))

(def ^:private answers (peer/answering (fn [{:keys [line]}] (str "answer to " line))))

(defn- heard
  "Status, body and end of what `exec` returns."
  [[[_ ^HttpStatus status] & more]]
  [(.getCode status) (str/join (filter string? more)) (last more)])

(deftest listeners-hear-a-response-as-it-arrives
  (peer/with-peer [p answers]
    (with-client [client (HttpClient.)]
      (let [[line headers & more] (exec client (str (:url p) "/a?b"))]
        (is (= [HttpVersion/HTTP_1_1 HttpStatus/OK] line))
        (is (= "text/plain" (headers "content-type")))
        (is (= "answer to GET /a?b HTTP/1.1" (str/join (butlast more))))
        (is (= :completed (last more)))))))

(deftest whatever-is-wrong-reaches-the-listener
  (with-client [client (HttpClient. 10)]
    (are [url error] (= [error] (exec client url))
      "http://[/"           java.net.URISyntaxException
      "ftp://127.0.0.1/"    ProtocolException
      "/no-host"            IllegalArgumentException
      "http://127.0.0.1:1/" java.net.ConnectException)
    (is (= [NullPointerException] (exec client nil)))
    (testing "and so do the listener's own faults"
      (peer/with-peer [p answers]
        (let [over     (promise)
              listener (reify IRespListener
                         (onInitialLineReceived [_ _ _] (throw (AbortException. "enough")))
                         (onHeadersReceived [_ _])
                         (onBodyReceived [_ _ _])
                         (onCompleted [_] (deliver over :completed))
                         (onThrowable [_ t] (deliver over (ex-message t))))]
          (.exec client (:url p) (RequestConfig.) nil listener)
          (is (= "enough" (await! over))))))))

(deftest a-stopped-client-fails-requests
  (let [client (HttpClient. -1)]
    (.stop client)
    (.stop client)
    (is (= [java.io.IOException] (exec client "http://127.0.0.1:1/")))
    (is (= "org.httpkit.client.HttpClient[stopped]" (str client)))))

(deftest a-client-prints-its-state-and-counts
  (let [client (HttpClient. 3)
        served (promise)
        stop   (server/run-server (fn [_] @served {:status 200}) {:port 0 :ip "127.0.0.1"})]
    (try
      (is (= "org.httpkit.client.HttpClient[running, connections 0 (idle 0), active 0, queued 0]" (str client)))
      (let [result (future (exec client (str "http://127.0.0.1:" (:local-port (meta stop)) "/")))]
        (is (wire/eventually #(= "org.httpkit.client.HttpClient[running, connections 1 (idle 0), active 1, queued 0]" (str client))))
        (deliver served true)
        (is (= [HttpVersion/HTTP_1_1 HttpStatus/OK] (first @result)))
        (is (wire/eventually #(= "org.httpkit.client.HttpClient[running, connections 1 (idle 1), active 0, queued 0]" (str client)))))
      (finally (deliver served true) (stop) (.stop client)))))

(deftest constructors-take-what-decides-about-connections
  (peer/with-peer [p answers]
    (let [calls      (atom [])
          note       (fn [& what] (swap! calls conj (vec what)))
          finder     (reify HttpClient$AddressFinder
                       (findAddress [_ uri]
                         (note :find (str uri))
                         (InetSocketAddress. "127.0.0.1" (int (:port p)))))
          factory    (reify HttpClient$ChannelFactory
                       (createChannel [_ address]
                         (note :create (class address))
                         (SocketChannel/open)))
          configurer HttpClient$SSLEngineURIConfigurer/NOP
          logger     ContextLogger/ERROR_PRINTER
          local      (InetSocketAddress. (InetAddress/getByName "127.0.0.1") 0)
          url        "http://elsewhere.test/x"]
      (doseq [[about make created]
              [["6 arguments" #(HttpClient. 5 finder configurer logger EventLogger/NOP EventNames/DEFAULT) false]
               ["7 arguments" #(HttpClient. 5 finder configurer logger EventLogger/NOP EventNames/DEFAULT local) false]
               ["8 arguments" #(HttpClient. 5 finder factory configurer logger EventLogger/NOP EventNames/DEFAULT nil)
                true]]]
        (testing about
          (reset! calls [])
          (with-client [client (make)]
            (dotimes [_ 2]
              (is (= [200 "answer to GET /x HTTP/1.1" :completed] (heard (exec client url)))))
            (is (= (if created
                     [[:find url] [:create InetSocketAddress] [:find url]]
                     [[:find url] [:find url]])
                   @calls)
                "the finder for each request, the factory for each connection")))))))

(deftest faults-that-are-not-the-peers-go-to-the-loggers
  (peer/with-peer [p answers]
    (let [log    (atom [])
          broken (reify IFilter
                   (^boolean accept [_ ^Map _] (throw (IllegalStateException. "broken filter")))
                   (^boolean accept [_ ^org.httpkit.DynamicBytes _] true))]
      (with-client [client (HttpClient. -1 HttpClient$AddressFinder/DEFAULT HttpClient$SSLEngineURIConfigurer/NOP
                                        (reify ContextLogger (log [_ m e] (swap! log conj [m (ex-message e)])))
                                        (reify EventLogger (log [_ event] (swap! log conj event)))
                                        (EventNames. {"clientImpossible" "impossible"}))]
        (let [^ExecutorService pool (Executors/newSingleThreadExecutor)
              over (promise)]
          (.exec client (:url p) (RequestConfig.) nil
                 (RespListener. (reify IResponseHandler
                                  (onSuccess [_ _ _ _] (deliver over :success))
                                  (onThrowable [_ t] (deliver over (ex-message t))))
                                broken pool 1))
          (is (= "broken filter" (await! over)))
          (is (peer/eventually #(= [["should not happen" "broken filter"] "impossible"] @log)))
          (.shutdown pool))))))

(deftest engines-are-configured-and-used
  (let [configured (atom [])]
    (peer/with-peer [p answers :server (certs/server-socket (certs/signed "other" "dns:other.test"))]
      (with-client [client (HttpClient. -1 HttpClient$AddressFinder/DEFAULT
                                        (reify HttpClient$SSLEngineURIConfigurer
                                          (configure [_ engine uri] (swap! configured conj [engine uri])))
                                        ContextLogger/ERROR_PRINTER EventLogger/NOP EventNames/DEFAULT)]
        (let [url    (certs/https-url p "/tls")
              engine (ClientSslEngineFactory/trustAnybody)]
          (is (= [200 "answer to GET /tls HTTP/1.1" :completed] (heard (exec client url (RequestConfig.) engine))))
          (is (= [[engine (URI. url)]] @configured))
          (testing "without one the default context's decides"
            (is (= [javax.net.ssl.SSLHandshakeException] (exec client url (RequestConfig.) nil)))))))))

(deftest configs-say-what-is-sent
  (peer/with-peer [p answers]
    (with-client [client (HttpClient.)]
      (let [given  (LinkedHashMap. {"X-One" "1"})
            config (RequestConfig. HttpMethod/PUT given "body" 1000 2000 3000 nil false true)]
        (.setHeader config "X-Two" [2 3])
        (.setHeader config "User-Agent" "java")
        (is (= HttpMethod/PUT (.getMethod config)))
        (is (= {"X-One" "1"} given) "the caller's map stays as it was")
        (exec client (:url p) config nil)
        (let [{:keys [line headers body]} (last @(:requests p))]
          (is (= "PUT / HTTP/1.1" line))
          (is (= "body" body))
          (is (= [["X-One" "1"] ["X-Two" "2"] ["X-Two" "3"] ["User-Agent" "java"]] (take 4 headers)))
          (is (some #{["Accept-Encoding" "gzip, deflate"]} headers))))
      (exec client (:url p) (RequestConfig. HttpMethod/GET nil nil 1000 2000 3000 nil false false true) nil)
      (is (nil? (peer/header (last @(:requests p)) "accept-encoding")))
      (testing "the default agent can be set for all"
        (let [before RequestConfig/DEFAULT_USER_AGENT]
          (is (= "http-kit/2.0" before))
          (set! RequestConfig/DEFAULT_USER_AGENT "mine")
          (try (exec client (:url p))
               (is (= "mine" (peer/header (last @(:requests p)) "user-agent")))
               (finally (set! RequestConfig/DEFAULT_USER_AGENT before)))))
      (is (= HttpMethod/GET (.getMethod (RequestConfig.))))))
  (testing "times"
    (peer/with-peer [p (fn [conn] (peer/await-end! conn))]
      (with-client [client (HttpClient.)]
        (is (= [TimeoutException]
               (exec client (:url p) (RequestConfig. HttpMethod/GET nil nil 5000 100 0 nil false true) nil)))))))

(defn- coerced
  "What a handler of `RespListener` gets for a request to the peer."
  [^HttpClient client url ^IFilter filter coercion]
  (let [^ExecutorService pool (Executors/newSingleThreadExecutor)
        over (promise)]
    (.exec client url (RequestConfig.) nil
           (RespListener. (reify IResponseHandler
                            (onSuccess [_ status headers body] (deliver over [status (get headers "content-type") body]))
                            (onThrowable [_ t] (deliver over (class t))))
                          filter pool (int coercion)))
    (try (await! over)
         (finally (.shutdown pool)))))

(deftest resp-listeners-coerce-and-filter
  (peer/with-peer [p answers]
    (with-client [client (HttpClient.)]
      (let [url  (:url p)
            text "answer to GET / HTTP/1.1"]
        (is (= [200 "text/plain" text] (coerced client url IFilter/ACCEPT_ALL 1)))
        (is (= [200 "text/plain" text] (coerced client url (IFilter$MaxBodyFilter. (count text)) 2)))
        (is (= AbortException (coerced client url (IFilter$MaxBodyFilter. (dec (count text))) 2)))
        (is (= text (slurp (last (coerced client url IFilter/ACCEPT_ALL 3)))))
        (is (= (seq (.getBytes text)) (seq (last (coerced client url IFilter/ACCEPT_ALL 4)))))))))

;; Users instrument clients, and mock them in tests, by a subclass.

(deftest every-hop-of-a-request-goes-through-exec
  (let [urls (atom [])]
    (peer/with-peer [p (peer/answering
                         (fn [{:keys [line] :as request}]
                           (if (str/includes? line "/from")
                             "HTTP/1.1 302 Found\r\nLocation: /to\r\nContent-Length: 0\r\n\r\n"
                             (str "trace " (peer/header request "x-trace")))))]
      ;; Not `proxy-super`, which takes the override out of its proxy while it runs: the redirect would pass by.
      (with-client [plain (HttpClient.)]
        (with-client [own (proxy [HttpClient] []
                            (exec [url config engine listener]
                              (swap! urls conj url)
                              (.setHeader ^RequestConfig config "X-Trace" "1")
                              (.exec ^HttpClient plain url config engine listener)))]
          (is (= [200 "trace 1"] ((juxt :status :body) @(client/get (str (:url p) "/from") {:client own}))))
          (is (= [(str (:url p) "/from") (str (:url p) "/to")] @urls)))))))

(deftest an-exec-that-makes-no-call-may-respond-by-the-listener-or-later
  (let [given (atom nil)]
    (with-client [mock (proxy [HttpClient] []
                         (exec [url _ _ ^IRespListener listener]
                           (if (= "http://later/" url)
                             (reset! given listener)
                             (doto listener
                               (.onInitialLineReceived HttpVersion/HTTP_1_1 HttpStatus/OK)
                               (.onHeadersReceived {"content-type" "text/plain"})
                               (.onBodyReceived (.getBytes "mocked") 6)
                               (.onCompleted)))))]
      (is (= [200 "mocked"] ((juxt :status :body) (await! (client/get "http://any/" {:client mock})))))
      (is (= "mocked" (await! (client/get "http://any/" {:client mock} :body))))
      (let [result (client/get "http://later/" {:client mock})]
        (is (true? (future-cancel result)) "there is nothing to cancel")
        (is (future-cancelled? result))
        (.onThrowable ^IRespListener @given (ex-info "late" {}))
        (is (= "late" (ex-message (:error (await! result)))))))))

(defn- cancelled? [result]
  (instance? CancellationException (:error (await! result))))

(deftest a-request-through-an-overridden-exec-can-be-cancelled
  (peer/with-peer [p peer/await-end!]
    (with-client [own (proxy [HttpClient] []
                        (exec [url config engine listener]
                          (let [^HttpClient this this]
                            (proxy-super exec url config engine listener))))]
      (let [result (client/get (:url p) {:client own})]
        (is (true? (future-cancel result)))
        (is (cancelled? result))))))

(deftest cancelling-reaches-a-request-that-an-own-exec-passes-on-later
  (peer/with-peer [p peer/await-end!]
    (with-client [plain (HttpClient.)]
      (let [passed-on (atom [])]
        (with-client [own (proxy [HttpClient] []
                            (exec [url config engine listener]
                              (swap! passed-on conj #(.exec ^HttpClient plain url config engine listener))))]
          (testing "after that"
            (let [result (client/get (:url p) {:client own})]
              ((peek @passed-on))
              (is (wire/eventually #(= 1 (:active (client/client-stats plain)))))
              (is (true? (future-cancel result)))
              (is (cancelled? result))
              (is (wire/eventually #(zero? (:connections (client/client-stats plain)))))))
          (testing "before that: then it is not sent"
            (let [result (client/get (:url p) {:client own})]
              (is (true? (future-cancel result)))
              ((peek @passed-on))
              (is (cancelled? result))
              (is (= 1 (:requests (client/client-stats plain))))))
          (testing "meanwhile"
            (is (every? (fn [_]
                          (let [result (client/get (:url p) {:client own})
                                passed (future ((peek @passed-on)))]
                            (future-cancel result)
                            @passed
                            (cancelled? result)))
                        (range 200)))
            (is (wire/eventually #(zero? (:connections (client/client-stats plain)))))))))))

(deftest cancelling-reaches-a-later-hop-whose-exec-has-not-returned
  (let [ended (promise), result (promise)]
    (peer/with-peer [p (fn [conn]
                         (peer/read-request! conn)
                         (peer/send! conn "HTTP/1.1 302 X\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n")
                         (peer/read-request! conn)
                         (future-cancel (await! result))
                         (peer/await-end! conn)
                         (deliver ended true))]
      (with-client [plain (HttpClient.)]
        (with-client [own (proxy [HttpClient] []
                            (exec [url config engine listener]
                              (.exec ^HttpClient plain url config engine listener)
                              (when (str/ends-with? url "/next") (await! ended))))]
          (deliver result (client/get (:url p) {:client own}))
          (is (true? (deref ended 10000 false)))
          (is (cancelled? @result)))))))

(defn- encoded [mixed? & entities]
  (let [^ByteBuffer buffer (MultipartEntity/encode "B" (vec entities) mixed?)]
    (is (zero? (.position buffer)))
    (String. (.array buffer) 0 (.limit buffer) "UTF-8")))

(deftest multipart-entities-encode-every-content
  (let [file (doto (File/createTempFile "part" ".bin") (.deleteOnExit) (spit "in a file"))
        head "--B\r\nContent-Disposition: form-data; name=\"n\"\r\n"
        typed (str head "Content-Type: application/octet-stream\r\n")]
    (are [content expected] (= (str expected "\r\n--B--\r\n") (encoded false (MultipartEntity. "n" content nil)))
      "é"                                                  (str head "\r\né")
      5                                                    (str head "\r\n5")
      (.getBytes "bytes")                                  (str head "\r\nbytes")
      (ByteBuffer/wrap (.getBytes "xbuffer") 1 6)          (str head "\r\nbuffer")
      (doto (ByteBuffer/allocateDirect 2) (.put (.getBytes "ok")) (.flip)) (str head "\r\nok")
      (ByteArrayInputStream. (.getBytes "stream"))         (str typed "\r\nstream")
      file                                                 (str typed "\r\nin a file"))
    (is (= (str "--B\r\nContent-Disposition: form-data; name=\"a\\\"\\\\\"; filename=\"f\\\"\"\r\nContent-Type: t/p\r\n\r\nx"
                "\r\n--B--\r\n")
           (encoded false (MultipartEntity. "a\"\\" "x" "f\"" "t/p"))))
    (is (= "--B\r\nContent-Type: t/p\r\n\r\nx\r\n--B\r\n\r\ny\r\n--B--\r\n"
           (encoded true (MultipartEntity. nil "x" "ignored" "t/p") (MultipartEntity. nil "y" nil))))
    (is (= "--B--\r\n" (encoded false)))))

(deftest multipart-mistakes-are-illegal-arguments
  (are [name content filename type]
       (thrown? IllegalArgumentException (encoded false (MultipartEntity. name content filename type)))
    nil     "x"   nil    nil
    "n"     true  nil    nil
    "n\r\n" "x"   nil    nil
    "n"     "x"   "f\n"  nil
    "n"     "x"   nil    "t\r"))

(deftest boundaries-are-made-of-the-time
  (let [before (System/currentTimeMillis)
        [_ millis] (re-matches #"----HttpKitFormBoundary(\d+)" (MultipartEntity/genBoundary []))]
    (is (<= before (Long/parseLong millis) (System/currentTimeMillis)))))
