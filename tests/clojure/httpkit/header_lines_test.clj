(ns httpkit.header-lines-test
  "Response headers whose values stand for several lines, and what a peer hears of a body that cannot be read:
  the same on every way that a response can take."
  (:require [clojure.test       :refer [deftest is testing]]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server])
  (:import (clojure.lang IFn)
           (java.io IOException InputStream)
           (java.util ArrayDeque ArrayList Arrays Collections LinkedHashSet List)
           (java.util.concurrent Executors)
           (org.httpkit HeaderMap HttpUtils)
           (org.httpkit.server AsyncChannel Frame HttpRequest HttpServer IHandler ProxyProtocolOption RespCallback RingHandler)))

(set! *warn-on-reflection* true)

;; The ways of a response

(defn- by-ring [response]
  #(wire/with-server [{:keys [port]} (constantly response) {}] (% port)))

(defn- by-ring-async [response]
  #(wire/with-server [{:keys [port]} (fn [_ respond _] (respond response)) {:ring-async? true}] (% port)))

(defn- by-pool [response]
  #(wire/with-server [{:keys [port]} (constantly response) {:worker-pool (Executors/newFixedThreadPool 2)}] (% port)))

(defn- by-channel [response]
  #(wire/with-server [{:keys [port]}
                      (fn [req] (server/as-channel req {:on-open (fn [ch] (server/send! ch response))})) {}]
     (% port)))

(defn- by-stream [response]
  #(wire/with-server [{:keys [port]}
                      (fn [req] (server/as-channel req {:on-open (fn [ch] (server/send! ch response false) (server/close ch))})) {}]
     (% port)))

(defn- started [handler f]
  (let [server (doto (HttpServer. "127.0.0.1" 0 ^IHandler handler 1000 8192 1000 ProxyProtocolOption/DISABLED) (.start))]
    (try (f (.getPort server))
         (finally (.stop server 1000)))))

(defn- ring-handler ^IHandler [response]
  (RingHandler. ^IFn (constantly response) false (Executors/newFixedThreadPool 2)))

(defn- by-ring-handler [response]
  #(started (ring-handler response) %))

(defn- by-embedder
  "Its own `HeaderMap`, encoded by `HttpEncode`."
  [{:keys [headers body]}]
  (let [handler (reify IHandler
                  (^void handle [_ ^HttpRequest _ ^RespCallback callback]
                    (.run callback (HttpUtils/HttpEncode 200 (HeaderMap/camelCase headers) body)))
                  (^void handle [_ ^AsyncChannel _ ^Frame _])
                  (clientClose [_ _ _])
                  (^void clientClose [_ ^AsyncChannel _ ^int _ ^String _])
                  (close [_ _]))]
    #(started handler %)))

(def ^:private ways
  {"Ring" by-ring, "Ring, asynchronous" by-ring-async, "Ring, own pool" by-pool, "RingHandler" by-ring-handler,
   "send!" by-channel, "send!, streamed" by-stream, "HttpEncode" by-embedder})

(defn- lines
  "The values of header `X` in what the server at `port` says, in order."
  [port & request]
  (with-open [conn (wire/connect port)]
    (wire/send! conn (or (first request) (wire/get-request "/")))
    (is (re-find #"^HTTP/1.1 (200|101) " (wire/read-line! conn)))
    (doall (keep #(second (re-find #"^X: (.*)$" %))
                 (take-while #(not= "" %) (repeatedly #(or (wire/read-line! conn) "")))))))

;; Headers

(def ^:private many-values
  [(into-array String ["a" "b"])
   (into-array Object ["a" :b])
   (ArrayList. ["a" "b"])
   (Arrays/asList (into-array ["a" "b"]))
   (List/of "a" "b")
   (Collections/unmodifiableCollection ["a" "b"])
   (LinkedHashSet. ["a" "b"])
   (ArrayDeque. ["a" "b"])
   ["a" "b"]
   '("a" "b")
   (map str "ab")])

(deftest a-header-with-many-values-is-a-line-for-each
  (doseq [[way by] ways, value many-values]
    (testing (str way ", " (.getName (class value)))
      (is (= ["a" (if (= :b (second (seq value))) ":b" "b")]
             ((by {:status 200 :headers {"x" value} :body "body"}) lines))))))

(deftest a-header-without-values-is-no-line
  (doseq [[way by] ways, value [(into-array String []) (ArrayList.) (Collections/emptySet) [] nil]]
    (is (= [] ((by {:status 200 :headers {"x" value} :body "body"}) lines)) way)))

(deftest other-values-are-one-line
  (doseq [[way by] ways, [value text] [["a,b" "a,b"] [7 "7"] [:k ":k"] [(java.nio.file.Path/of "/a/b" (make-array String 0)) "/a/b"]]]
    (is (= [text] ((by {:status 200 :headers {"x" value} :body "body"}) lines)) way)))

(deftest the-headers-of-a-handshake-are-a-line-for-each-value-too
  (doseq [value many-values]
    (wire/with-server [{:keys [port]} (fn [req] (server/as-channel req {:headers {"x" value}})) {}]
      (is (= ["a" (if (= :b (second (seq value))) ":b" "b")]
             (lines port (wire/get-request "/" ["Upgrade" "websocket"] ["Connection" "Upgrade"]
                                           ["Sec-WebSocket-Version" "13"]
                                           ["Sec-WebSocket-Key" "dGhlIHNhbXBsZSBub25jZQ=="])))
          (.getName (class value))))))

(deftest only-the-connection-header-ends-the-connection
  (wire/with-server [{:keys [port]}
                     (constantly {:status 200 :headers (array-map "Connection" "keep-alive" "Collection" "close")}) {}]
    (with-open [conn (wire/connect port)]
      (dotimes [_ 2]
        (wire/send! conn (wire/get-request "/"))
        (is (= {"connection" "keep-alive" "collection" "close"}
               (select-keys (:headers (wire/answer conn)) ["connection" "collection"])))))))

(deftest a-connection-header-among-many-values-ends-the-connection
  (doseq [value [(into-array ["x" "close"]) (ArrayList. ["close"])]]
    (wire/with-server [{:keys [port]} (constantly {:status 200 :headers {"Connection" value}}) {}]
      (with-open [conn (wire/connect port)]
        (wire/send! conn (wire/get-request "/"))
        (is (= 200 (:status (wire/answer conn))))
        (is (wire/closed? conn))))))

;; Maps that come again

(def ^:private constants
  {"/type"       {"Content-Type" "text/x"}
   "/several"    {"X" "1", "Date" "then", "Server" "me"}
   "/length"     {"content-length" "77"}
   "/connection" {"Connection" "close", "X" "2"}
   "/lines"      {"X" ["1" "2"]}
   "/number"     {"X" 3}
   "/hash"       (into {} (map (fn [n] [(str "X" n) (str n)])) (range 20))
   "/long"       {"X" (apply str (repeat 1000 \x))}
   "/empty"      {}
   "/none"       nil})

(defn- known [path head]
  (-> (update head :headers dissoc (if (= "/several" path) "" "date"))
      (select-keys [:status :headers])))

(deftest a-header-map-that-comes-again-gives-the-same-lines-whatever-comes-in-between
  (wire/with-server [{:keys [port]} (fn [{:keys [uri]}] {:status 200, :headers (constants uri), :body "b"})
                             {:thread 1, :legacy-content-length? false}]
    (let [ask      (fn [path & [method]]
                     (with-open [conn (wire/connect port)]
                       (wire/send! conn (str (or method "GET") " " path " HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n"))
                       (known path (wire/answer conn :head? (= "HEAD" method)))))
          expected (into {} (map (juxt identity ask)) (keys constants))
          headed   (into {} (map (juxt identity #(ask % "HEAD"))) (keys constants))]
      (is (= "77" (get-in headed ["/length" :headers "content-length"])))
      (is (= "1" (get-in expected ["/length" :headers "content-length"])))
      (is (= "close" (get-in expected ["/connection" :headers "connection"])))
      (dotimes [round 6]
        (doseq [path (concat (keys constants) ["/type" "/type" "/several" "/several"])]
          (is (= (expected path) (ask path)) [round path])
          (is (= (headed path) (ask path "HEAD")) [round path]))))))

(deftest a-mutable-header-map-is-written-as-it-is-each-time
  (let [headers (java.util.HashMap.)
        n       (atom 0)]
    (wire/with-server [{:keys [port]} (fn [_] (.put headers "X" (str (swap! n inc))) {:status 200, :headers headers}) {}]
      (dotimes [i 5]
        (is (= [(str (inc i))] (lines port)))))))

;; Bodies that cannot be read

(defn- unreadable ^InputStream [^String message]
  (proxy [InputStream] []
    (read ([] (throw (IOException. message)))
      ([_] (throw (IOException. message)))
      ([_ _ _] (throw (IOException. message))))))

(deftest a-body-that-cannot-be-read-is-a-500-with-the-reason-and-never-null
  (doseq [[way by] (dissoc ways "send!" "send!, streamed")
          [message text] [["disk on fire" "disk on fire"] [nil "I/O error encoding response"] ["" ""]]]
    (testing (str way ", " (pr-str message))
      (let [answer ((by {:status 200 :body (unreadable message)}) #(wire/fetch % "/"))]
        (is (= [500 text] ((juxt :status :body) answer)))))))

(deftest exceptions-without-a-message-say-nothing-to-a-peer
  (doseq [[way by] {"Ring"        (fn [f] #(wire/with-server [{:keys [port]} (fn [_] (f)) {}] (% port)))
                    "asynchronous" (fn [f] #(wire/with-server [{:keys [port]} (fn [_ _ raise] (raise (try (f) (catch Throwable t t))))
                                                               {:ring-async? true}]
                                              (% port)))
                    "channel"     (fn [f] #(wire/with-server [{:keys [port]} (fn [req] (server/as-channel req {:on-open (fn [_] (f))})) {}]
                                             (% port)))}
          ^Throwable thrown [(RuntimeException.) (IOException.) (NullPointerException.) (AssertionError.)]]
    (is (= [500 ""] ((juxt :status :body) ((by #(throw thrown)) #(wire/fetch % "/")))) [way (class thrown)])))
