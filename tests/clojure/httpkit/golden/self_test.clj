(ns ^:newest-jdk httpkit.golden.self-test
  "The replay tests itself: a runner that cannot fail proves nothing. Needs no
  implementation of http-kit; a server written here gives right and wrong answers."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing are]]
            [httpkit.golden.bytes :as bytes]
            [httpkit.golden.client :as client]
            [httpkit.golden.compare :as compare]
            [httpkit.golden.frame :as frame]
            [httpkit.golden.http :as http]
            [httpkit.golden.json :as json]
            [httpkit.golden.runner :as runner]
            [httpkit.golden.script :as script]
            [httpkit.golden.server :as server]
            [httpkit.golden.value :as value])
  (:import [clojure.lang ExceptionInfo]
           [java.io ByteArrayInputStream InputStream]
           [java.net InetAddress ServerSocket Socket]))

(set! *warn-on-reflection* true)

(deftest json-is-read-strictly
  (are [text v] (= v (json/parse text))
    "1" 1
    "-0.5e2" -50.0
    " [1, \"a\\u00e9\\n\", {}, null, true] " [1 "a\u00e9\n" {} nil true]
    "{\"a\": {\"b\": []}}" {"a" {"b" []}}
    "\"\\ud83d\\ude00\"" "\ud83d\ude00"
    "12345678901234567890" 12345678901234567890N)
  (is (= ["z" "a" "m"] (keys (json/parse "{\"z\":1,\"a\":2,\"m\":3}"))))
  (are [text] (thrown? ExceptionInfo (json/parse text))
    "" "01" "1." "+1" "[1,]" "{\"a\":1,}" "{a:1}" "'a'" "\"a" "[1] 2" "nul" "\"\\x\"" "\"\\u00g0\""
    "{\"a\":1,\"a\":2}" "\"a\nb\"" "[1 2]" "NaN"))

(deftest all-golden-files-are-readable
  (let [cases (runner/load-cases runner/directories)]
    (is (<= 1041 (count cases)))
    (is (apply distinct? (map #(get % "id") cases)))
    (is (every? #(seq (compare/outcomes %)) cases))))

(deftest bytes-values-become-bytes
  (are [b text] (= text (bytes/text (bytes/to-bytes b)))
    "a\u00ff" "a\u00ff"
    ["a" ["b" {"pause_ms" 5}] "c"] "abc"
    {"repeat" ["ab" 3]} "ababab"
    {"repeat" [["a" "b"] 2]} "abab"
    {"drip" ["abc" 1]} "abc")
  (is (= [[:write "a"] [:pause 5] [:write "b"]]
         (map (fn [[k x]] [k (if (bytes? x) (bytes/text x) x)])
              (bytes/writes ["a" {"pause_ms" 5} "b"]))))
  (is (= 3 (count (filter #(= :write (first %)) (bytes/writes {"drip" ["abc" 1]})))))
  (is (thrown? ExceptionInfo (bytes/to-bytes "\u2603")))
  (is (thrown? ExceptionInfo (bytes/to-bytes {"unknown" 1}))))

(deftest long-bytes-are-shortened
  (is (= {"len" 1048576 "crc32" 629339208}
         (bytes/shorten (bytes/to-bytes {"repeat" ["abcd" 262144]}))))
  (is (= 600 (count (bytes/shorten (bytes/to-bytes {"repeat" ["a" 600]}))))))

(deftest values-follow-the-table
  (are [v x] (= x (value/value v))
    {"kw" "a"} :a
    {"sym" "a"} 'a
    {"char" "c"} \c
    {"list" [1 2]} '(1 2)
    {"set" [1]} #{1}
    {"opts" {"a" {"kw" "b"}}} {:a :b}
    {"smap" {"a" 1}} {"a" 1}
    {"map" [[{"kw" "k"} 1]]} {:k 1}
    {"ring" {"status" 200 "headers" {"x" "y"}}} {:status 200 :headers {"x" "y"}}
    {"ring" {"headers" {"map" [[{"kw" "k"} "v"]]}}} {:headers {:k "v"}}
    [1 {"kw" "a"}] [1 :a])
  (is (= ["z" "a"] (keys (value/value {"smap" {"z" 1 "a" 2}}))))
  (is (= "x" (slurp (value/value {"file" "x"}))))
  (is (thrown? java.io.IOException (slurp (value/value {"throwing-stream" "m"}))))
  (is (thrown? ExceptionInfo (value/value {"bogus" 1})))
  (is (thrown? ExceptionInfo (value/value {"a" 1 "b" 2}))))

(defn- differs? [expected actual]
  (boolean (seq (compare/differences [] expected actual))))

(deftest comparison-follows-the-rules
  (testing "equal"
    (are [expected actual] (not (differs? expected actual))
      "*" nil
      {"a" nil} {}
      {} {"a" nil}
      {"a" 1 "*" "*"} {"a" 1 "b" 2}
      [1 "*"] [1 2]
      {"message" "x" "class" "c"} {"message" "y" "class" "c"}
      "len=5" {"len" 5}
      5 5.0))
  (testing "different"
    (are [expected actual] (differs? expected actual)
      1 2
      {"a" 1} {"a" 1 "b" 2}
      {"a" 1 "b" 2} {"a" 1}
      {"a" {"b" 1}} {"a" {"b" 2}}
      [1] [1 2]
      [1 2] [1]
      ["*"] []
      nil "a"
      "a" nil
      {} nil
      [] nil
      {"class" "c"} {"class" "d"}
      {"class" "c"} {"class" "c" "cause" "d"}
      "len=5" {"len" 6}
      "5" 5
      false nil)))

(defn- disagreements [golden actual]
  (map :path (compare/check golden actual)))

(deftest outcomes-are-compared-by-their-own-keys
  (is (empty? (disagreements {"expect" {"closed" true}} {"closed" true "responses" [1]})))
  (is (= [["closed"]] (disagreements {"expect" {"closed" true}} {"closed" false})))
  (testing "bytes left over count unless named"
    (is (= [["trailing"]] (disagreements {"expect" {"responses" []}} {"responses" [] "trailing" "x"})))
    (is (empty? (disagreements {"expect" {"responses" [] "trailing" "x"}} {"responses" [] "trailing" "x"}))))
  (testing "one of several outcomes is enough"
    (is (empty? (disagreements {"expect" {"a" 1} "also_ok" [{"a" 2}]} {"a" 2})))
    (is (empty? (disagreements {"expect_any" [{"a" 1} {"a" 2}]} {"a" 2})))
    (is (seq (disagreements {"expect_any" [{"a" 1} {"a" 2}]} {"a" 3}))))
  (testing "only listed phases, but those exactly"
    (is (empty? (disagreements {"expect" {"log" {"on-close" []}}} {"log" {"on-open" [["called"]]}})))
    (is (seq (disagreements {"expect" {"log" {"on-close" []}}} {"log" {"on-close" [[":normal"]]}})))
    (is (seq (disagreements {"expect" {"log" {"on-close" [[":normal"]]}}} {"log" {}}))))
  (testing "opts of a result only where given"
    (is (empty? (disagreements {"expect" {"results" [{"status" 1}]}}
                               {"results" [{"status" 1 "opts" {"keys" []}}]})))
    (is (seq (disagreements {"expect" {"results" [{"status" 1 "opts" {"keys" ["a"]}}]}}
                            {"results" [{"status" 1 "opts" {"keys" []}}]}))))
  (is (thrown? ExceptionInfo (compare/check {"id" "x"} {}))))

(def ^:private plain-request
  {"character-encoding" "utf8" "protocol" "HTTP/1.1" "websocket?" false "body" nil
   "content-type" nil "content-length" 0 "query-string" nil "remote-addr" "127.0.0.1"
   "server-name" "h" "server-port" 80 "scheme" "http" "headers" {"host" "h"}
   "request-method" "get" "uri" "/"})

(deftest request-defaults-are-filled-in
  (let [golden (fn [r] {"expect" {"requests" [r]}})
        agrees? (fn [expected actual] (empty? (compare/check (golden expected) {"requests" [actual]})))]
    (is (agrees? {"request-method" "get" "uri" "/"} plain-request))
    (is (agrees? {"request-method" "get" "uri" "/" "header-count" 1} plain-request))
    (is (agrees? {"request-method" "get" "uri" "/" "remote-addr" "*" "headers" {"host" "h" "*" "*"}}
                 plain-request))
    (is (not (agrees? {"request-method" "get" "uri" "/" "header-count" 2} plain-request)))
    (is (not (agrees? {"request-method" "get" "uri" "/"} (assoc plain-request "server-port" 8080))))
    (is (not (agrees? {"request-method" "get" "uri" "/"} (assoc-in plain-request ["headers" "x"] "y"))))
    (is (not (agrees? {"request-method" "get" "uri" "/"} (assoc plain-request "body" "smuggled"))))
    (is (seq (compare/check (golden {"request-method" "get" "uri" "/"}) {"requests" []})))))

(deftest wire-headers-are-ordered-only-on-demand
  (let [wire (fn [& headers] {"wire" [{"line" "GET / HTTP/1.1" "headers" (vec headers)}]})
        golden {"expect" (wire ["A" "1"] ["B" "2"] ["A" "3"])}]
    (is (empty? (compare/check golden (wire ["B" "2"] ["A" "1"] ["A" "3"]))))
    (is (seq (compare/check golden (wire ["B" "2"] ["A" "3"] ["A" "1"]))))
    (is (seq (compare/check golden (wire ["b" "2"] ["A" "1"] ["A" "3"]))) "letter case counts")
    (is (seq (compare/check (assoc golden "ordered" true) (wire ["B" "2"] ["A" "1"] ["A" "3"]))))))

(defn- parse [text & [head]]
  (http/parse (bytes/latin1 text) head))

(deftest answers-are-cut-by-their-framing
  (is (= {"responses" [{"status" 200 "headers" {"content-length" ["2"] "x" ["1" "2"]} "body" "ok"}
                       {"status" 204 "headers" {} "body" ""}]}
         (parse "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: 1\r\nx:  2 \r\n\r\nokHTTP/1.1 204\r\n\r\n")))
  (is (= [{"status" 200 "headers" {"transfer-encoding" ["chunked"]} "body" "abcde"
           "framing" "chunked" "complete" true}]
         (get (parse "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n")
              "responses")))
  (is (= [{"status" 200 "headers" {} "body" "abc" "framing" "close"}]
         (get (parse "HTTP/1.1 200 OK\r\n\r\nabc") "responses")))
  (testing "interim answers have no body"
    (is (= [{"status" 100 "headers" {}} {"status" 200 "headers" {"content-length" ["0"]} "body" ""}]
           (get (parse "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                "responses"))))
  (testing "answers to HEAD"
    (is (= {"responses" [{"status" 200 "headers" {"content-length" ["5"]} "body" ""}]}
           (parse "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" true)))
    (is (= "hello" (get (parse "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" true) "trailing")))
    (is (= ["" "x"] (map #(get % "body")
                         (get (parse (str "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"
                                          "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
                                     [true false])
                              "responses"))))))

(deftest broken-answers-are-not-taken-for-whole-ones
  (is (= {"responses" [] "trailing" "0\r\n\r\n"} (parse "0\r\n\r\n")))
  (is (= {"responses" [] "trailing" "HTTP/1.1 200 OK\r\nA"} (parse "HTTP/1.1 200 OK\r\nA")))
  (is (= [] (get (parse "HTTP/2 200\r\n\r\n") "responses")))
  (is (= [] (get (parse "HTTP/1.1 200 OK\r\nBad Name: 1\r\n\r\n") "responses")))
  (are [body complete] (= complete
                          (-> (parse (str "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" body))
                              (get-in ["responses" 0 "complete"])))
    "3\r\nabc\r\n0\r\n\r\n" true
    "3\r\nabc\r\n0\r\n" false
    "3\r\nabc\r\n" false
    "3\r\nab" false
    "3\r\nabcX\r\n0\r\n\r\n" false
    "zz\r\n" false
    "" false)
  (is (false? (get-in (parse "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
                      ["responses" 0 "complete"])))
  (is (= "1\r\nx\r\n0\r\n\r\n"
         (get (parse "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n1\r\nx\r\n0\r\n\r\n")
              "trailing"))))

(defn- unsigned-bytes [^bytes bs] (mapv #(bit-and 0xff %) bs))

(deftest client-frames-are-encoded-as-rfc-6455-shows
  (is (= [0x81 0x85 0x37 0xfa 0x21 0x3d 0x7f 0x9f 0x4d 0x51 0x58]
         (unsigned-bytes (frame/encode {"op" "text" "payload" "Hello"}))))
  (is (= [0x81 0x05 0x48 0x65 0x6c 0x6c 0x6f]
         (unsigned-bytes (frame/encode {"op" "text" "payload" "Hello" "mask" false}))))
  (is (= [0x41 0x01 0x61] (unsigned-bytes (frame/encode {"op" "text" "payload" "a" "fin" false
                                                         "rsv" 4 "mask" false}))))
  (is (= [0x88 0x05 0x03 0xe8 0x62 0x79 0x65]
         (unsigned-bytes (frame/encode {"op" "close" "code" 1000 "reason" "bye" "mask" false}))))
  (is (= [0x81 0x7e 0x00 0x01 0x61]
         (unsigned-bytes (frame/encode {"op" "text" "payload" "a" "mask" false "len_form" 16}))))
  (is (= [0x8f 0x00] (unsigned-bytes (frame/encode {"op" 15 "mask" false}))))
  (is (= [0x81 0xff] (unsigned-bytes (frame/encode {"raw" "\u0081\u00ff"})))))

(deftest server-frames-are-read-back
  (doseq [n [0 125 126 65535 65536]
          :let [payload {"repeat" ["a" n]}]]
    (is (= [{"op" "binary" "payload" (bytes/shorten (bytes/to-bytes payload))}]
           (frame/parse (frame/encode {"op" "binary" "payload" payload "mask" false})))))
  (is (= [{"op" "text" "payload" "a" "masked" true}]
         (frame/parse (frame/encode {"op" "text" "payload" "a"}))))
  (is (= [{"op" "text" "payload" "a" "fin" false "rsv" 1} {"op" "close"}
          {"op" "close" "code" 1001 "reason" "x"} {"op" 3 "payload" ""}]
         (frame/parse (frame/encode-all
                       [{"op" "text" "payload" "a" "fin" false "rsv" 1 "mask" false}
                        {"op" "close" "mask" false}
                        {"op" "close" "code" 1001 "reason" "x" "mask" false}
                        {"op" 3 "mask" false}]))))
  (is (= [{"op" "pong" "payload" ""} {"partial" 3}]
         (frame/parse (bytes/latin1 "\u008a\u0000\u0081\u0005a")))))

(deftest handshakes-take-the-changes-of-a-case
  (is (str/includes? (server/handshake {}) "\r\nUpgrade: websocket\r\n"))
  (is (not (str/includes? (server/handshake {"headers" {"Upgrade" nil}}) "Upgrade: ")))
  (is (str/includes? (server/handshake {"headers" {"Connection" "x" "Origin" "o"}})
                     "Connection: x\r\n"))
  (is (str/ends-with? (server/handshake {"version" "1.0" "headers" {"Origin" "o"} "body" "b"})
                      "Origin: o\r\n\r\nb"))
  (is (= 1 (count (re-seq #"Connection:" (server/handshake {"headers" {"Connection" "x"}}))))))

;; A server of our own, honest or not.

(defn- read-head [^InputStream in]
  (loop [sb (StringBuilder.)]
    (if (str/ends-with? (str sb) "\r\n\r\n")
      (str sb)
      (let [b (.read in)]
        (when-not (neg? b) (recur (.append sb (char b))))))))

(defn- ring-request [head]
  (let [[_ method uri] (re-find #"^(\S+) (\S+) HTTP/1.1\r\n" head)]
    {:request-method (keyword (.toLowerCase ^String method java.util.Locale/ROOT)) :uri uri
     :headers {"host" "h"} :server-name "h" :server-port 80 :remote-addr "127.0.0.1"
     :scheme :http :protocol "HTTP/1.1" :character-encoding "utf8" :content-length 0
     :websocket? false}))

(defn- answer-text [{:keys [status headers body]}]
  (str "HTTP/1.1 " status " X\r\ncontent-length: " (count body)
       "\r\nDate: now\r\nServer: http-kit\r\n"
       (str/join (for [[k v] headers] (str k ": " v "\r\n")))
       "\r\n" body))

(defn- serve
  "Answers the requests of one connection with what `distort` makes of the right answer."
  [^Socket socket handler distort]
  (let [in (.getInputStream socket)
        out (.getOutputStream socket)]
    (loop []
      (when-let [head (read-head in)]
        (let [text (distort (answer-text (handler (ring-request head))))]
          (.write out (bytes/latin1 (str/replace text "<close>" "")))
          (.flush out)
          (if (str/includes? text "<close>") (.close socket) (recur)))))))

(defn- background [f]
  (doto (Thread. ^Runnable (fn [] (try (f) (catch java.io.IOException _ nil))))
    (.setDaemon true)
    .start))

(defn- own-server
  "A `start` function for `server/play`."
  [distort]
  (fn [handler _options]
    (let [listener (ServerSocket. 0 50 (InetAddress/getByName "127.0.0.1"))]
      (background #(while true
                     (let [socket (.accept listener)]
                       (background (fn [] (serve socket handler distort))))))
      {:port (.getLocalPort listener)
       :stop! (fn [_] (.close listener) (deliver (promise) true))})))

(def ^:private golden-get
  (delay (first (filter #(= "sw-methods-001" (get % "id")) (runner/load-cases ["tests/golden"])))))

(defn- verdict [distort]
  (runner/check #(server/play % (own-server distort)) @golden-get))

(deftest right-answers-pass
  (is (runner/passed? (verdict identity))))

(deftest wrong-answers-fail-where-they-are-wrong
  (are [distort path] (= path (-> (verdict distort) :differences first :path))
    #(str/replace % "200" "201") ["responses" 0 "status"]
    #(str/replace % "ok" "no") ["responses" 0 "body"]
    #(str/replace % "text/plain" "text/html") ["responses" 0 "headers" "content-type" 0]
    #(str/replace % "Date: now\r\n" "") ["responses" 0 "headers" "date"]
    #(str/replace % "Date: now" "Date: now\r\nX: 1") ["responses" 0 "headers" "x"]
    #(str/replace % "Date: now" "Date: now\r\nDate: now") ["responses" 0 "headers" "date" :count]
    #(str % "<close>") ["closed"]
    #(str % "0\r\n\r\n") ["trailing"]
    #(str % %) ["responses" :count]
    #(subs % 0 (dec (count %))) ["responses" 0 "body"]
    (fn [_] "") ["responses" :count]
    (fn [_] "<close>") ["responses" :count]
    (fn [_] "garbage\r\n\r\n") ["responses" :count]))

(deftest a-wrong-request-map-fails
  (let [start (fn [handler options] ((own-server identity) #(handler (assoc % :uri "/other")) options))]
    (is (= ["requests" 0 "uri"]
           (-> (runner/check #(server/play % start) @golden-get) :differences first :path)))))

(deftest silence-while-the-client-still-sends-does-not-count
  (let [golden (assoc @golden-get "send" ["GET / HTTP/1.1\r\n" {"pause_ms" 700} "Host: h\r\n\r\n"])
        slow (fn [handler options] ((own-server identity) #(do (Thread/sleep 200) (handler %)) options))]
    (is (runner/passed? (runner/check #(server/play % slow) golden)))))

(deftest a-case-that-breaks-fails
  (is (not (runner/passed? (runner/check (fn [_] (throw (RuntimeException. "no server"))) @golden-get))))
  (is (not (runner/passed? (runner/check #(server/play % (own-server identity))
                                         (assoc @golden-get "handler" {"bogus" 1}))))))

(deftest failed-cases-are-retried-alone-and-counted
  (let [calls (atom 0)
        golden {"id" "x" "file" "none" "expect" {"n" 3}}
        play (fn [g] [g {"n" (swap! calls inc)}])]
    (is (= [2 true] ((juxt :retried runner/passed?) (first (runner/run [golden] {:play play})))))
    (is (= 3 @calls)))
  (let [play (fn [g] [g {"n" 0}])
        results (runner/run [{"id" "x" "file" "none" "expect" {"n" 3}}] {:play play})]
    (is (= [2 false] ((juxt :retried runner/passed?) (first results))))))

(deftest assumptions-skip-cases
  (let [golden {"id" "x" "file" "none" "assumes" {"cores" 100000} "expect" {"n" 1}}]
    (is (:skipped (first (runner/run [golden] {:play (fn [g] [g {}])}))))))

;; The client player's servers, driven by a plain socket.

(defn- talk
  "Connects to the scripts, writes `text`, gives everything answered until the end of stream."
  [scripts text]
  (let [wire (atom [])
        server (script/start scripts identity #(swap! wire conj %))]
    (try
      (with-open [socket (Socket. (InetAddress/getByName "127.0.0.1") (int (:port server)))]
        (.setSoTimeout socket 2000)
        (.write (.getOutputStream socket) (bytes/latin1 text))
        (let [answer (try (slurp (.getInputStream socket) :encoding "ISO-8859-1")
                          (catch java.net.SocketTimeoutException _ :open)
                          (catch java.net.SocketException _ :reset))]
          {:answer answer :wire @wire :connections (script/connections server)}))
      (finally (script/stop! server)))))

(deftest scripts-read-whole-requests-and-answer
  (is (= {:answer "yes" :connections 1
          :wire [{"line" "POST /p HTTP/1.1" "headers" [["Content-Length" "3"] ["X-a" "b: c"]] "body" "abc"}]}
         (talk [["read" {"send" ["y" {"pause_ms" 5} "es"]} "close"]]
               "POST /p HTTP/1.1\r\nContent-Length: 3\r\nX-a: b: c\r\n\r\nabc")))
  (is (= "abc" (-> (talk [["read" "close"]]
                         "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
                   :wire first (get "body"))))
  (testing "a loop answers each request"
    (is (= "112" (:answer (talk [["read" {"send" "1"} "read" {"send" "1"} "read" {"send" "2"} "close"]]
                                (str/join (repeat 3 "GET / HTTP/1.1\r\n\r\n"))))))
    (is (= 2 (count (:wire (talk [[{"loop" ["read" {"send" "x"}]}]]
                                 (str/join (repeat 2 "GET / HTTP/1.1\r\n\r\n"))))))))
  (testing "an incomplete request is not recorded"
    (is (= [] (:wire (talk [["read" "close"]] "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab")))))
  (is (= :reset (:answer (talk [["read-head" "reset"]] "GET / HTTP/1.1\r\n\r\n"))))
  (is (= :open (:answer (talk [["read"]] "GET / HTTP/1.1\r\n\r\n")))))

(deftest multipart-boundaries-are-hidden
  (is (= {"headers" [["Content-Type" "multipart/form-data; boundary={boundary}"] ["Content-Length" "12"]]
          "body" "--{boundary}--\r\n"}
         (-> (talk [["read" "close"]]
                   (str "POST / HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=bnd123\r\n"
                        "Content-Length: 12\r\n\r\n--bnd123--\r\n"))
             :wire first (dissoc "line")))))

(deftest results-of-the-client-are-described
  (is (= {"status" 200 "headers" {"a" "b"} "body" {"class" "String" "value" "ok"}
          "opts" {"keys" ["url"] "url" "u" "method" nil "trace-redirects" nil}}
         (client/result-outcome {:status 200 :headers {:a "b"} :body "ok" :opts {:url "u" :client 1}})))
  (is (= {"class" "java.io.IOException" "message" "m" "cause" "java.lang.RuntimeException"
          "cause_message" "c"}
         (get (client/result-outcome {:error (java.io.IOException. "m" (RuntimeException. "c"))}) "error")))
  (is (= {"value" nil} (client/result-outcome nil)))
  (is (= {"class" "java.io.InputStream" "value" "x"}
         (get (client/result-outcome {:status 1 :body (ByteArrayInputStream. (bytes/latin1 "x"))}) "body")))
  (is (= "java.io.IOException"
         (get-in (client/result-outcome {:status 1 :body (value/value {"throwing-stream" "m"})})
                 ["body" "read_error" "class"]))))
