(ns httpkit.compression-test
  "Compressed responses: who gets one, what it says, and that each piece of a stream can be decoded as it arrives."
  (:require [clojure.java.shell :as shell]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.files      :as files]
            [httpkit.scheme     :as scheme]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server]
            [org.httpkit.sse    :as sse])
  (:import (java.io ByteArrayInputStream ByteArrayOutputStream Closeable File PipedInputStream PipedOutputStream)
           (java.nio ByteBuffer)
           (java.util.concurrent LinkedBlockingQueue TimeUnit)
           (java.util.zip GZIPInputStream Inflater)))

(set! *warn-on-reflection* true)

(def ^:private text (apply str (for [i (range 400)] (str "{\"id\":" i ",\"name\":\"item " i "\"}\n"))))

(defn- gunzip [^bytes coded]
  (String. (.readAllBytes (GZIPInputStream. (ByteArrayInputStream. coded))) "UTF-8"))

(defn- fetch
  "Status, headers and body of a GET; the body decoded, and `:length` as sent."
  [port & headers]
  (with-open [conn (wire/connect port)]
    (wire/send! conn (apply wire/get-request "/" headers))
    (let [{:keys [headers body] :as response} (wire/answer conn)
          coded (.getBytes ^String body "ISO-8859-1")]
      (assoc response
             :length (alength coded)
             :body   (if (= "gzip" (headers "content-encoding"))
                       (gunzip coded)
                       (String. coded "UTF-8"))))))

(def ^:private gzip ["Accept-Encoding" "gzip, deflate, br"])

(defn- answer-of
  "What a server with `options` and this response answers to a client that accepts gzip."
  [options response & headers]
  (wire/with-server [{:keys [port]} (fn [_] response) (merge {:compression true} options)]
    (apply fetch port gzip headers)))

(defn- coded?
  "Whether a response is compressed, and a short text in failures."
  [{:keys [headers]}]
  (= "gzip" (headers "content-encoding")))

(defn- response [& {:as more}]
  (merge {:status 200 :headers {"Content-Type" "application/json"} :body text} more))

(deftest bodies-of-every-type-are-compressed-and-come-back
  (let [bytes (.getBytes ^String text "UTF-8")
        ^String large (apply str (repeat 60 text))]
    (doseq [[what body expected] [["String" text text]
                                  ["bytes" bytes text]
                                  ["ByteBuffer" (ByteBuffer/wrap bytes) text]
                                  ["direct ByteBuffer" (.flip (.put (ByteBuffer/allocateDirect (alength bytes)) bytes)) text]
                                  ["seq" (list "a" text "b") (str "a" text "b")]
                                  ["InputStream" (ByteArrayInputStream. bytes) text]
                                  ["File" (files/temporary-file text) text]
                                  ["large String" large large]
                                  ["large bytes" (.getBytes large "UTF-8") large]
                                  ["File over :body-buffer-size" (files/temporary-file large) large]
                                  ["long InputStream" (ByteArrayInputStream. (.getBytes large "UTF-8")) large]
                                  ["long seq" (repeat 60 text) large]]]
      (testing what
        (let [{:keys [headers length body] :as answer} (answer-of {} (response :body body))]
          (is (coded? answer))
          (is (= expected body))
          (is (= "Accept-Encoding" (headers "vary")))
          (is (< (* 3 (long length)) (count expected)))
          (is (if (str/starts-with? what "long")
                (= "chunked" (headers "transfer-encoding"))
                (= (str length) (headers "content-length")))))))))

(deftest a-client-gets-what-it-accepts-and-prefers
  (doseq [[accepts expected] {"gzip" true, "GZIP" true, "x-gzip" true, "*" true, "br, gzip;q=0.1" true
                              "identity;q=0.5, gzip;q=0.5" true, "identity;q=0.5, *" true, "gzip;q=1.000" true
                              "identity;q=0, gzip;q=0.001" true
                              "" false, "br" false, "identity" false, "gzip;q=0" false, "gzip;q=0.0, *" false
                              "gzip;q=0.1, *" false
                              "*;q=0" false, "identity;q=0" false, "identity, gzip;q=0.9" false, "gzip;q=x" false
                              "gzip;q=-1" false}]
    (testing accepts
      (wire/with-server [{:keys [port]} (fn [_] (response)) {:compression true}]
        (let [{:keys [headers body] :as answer} (fetch port ["Accept-Encoding" accepts])]
          (is (= expected (coded? answer)))
          (is (= text body))
          (is (= "Accept-Encoding" (headers "vary")) "caches must know in both cases"))))))

(deftest a-request-without-accept-encoding-and-a-server-without-the-option-see-no-difference
  (let [plain {:headers (fn [h] (dissoc h "date"))}
        seen  (fn [options & headers]
                (wire/with-server [{:keys [port]} (fn [_] (response :headers {"Content-Type" "text/html" "ETag" "\"x\""}))
                                   options]
                  (update (apply fetch port headers) :headers (:headers plain))))]
    (is (= (seen {}) (seen {:compression true}) (seen {} gzip) (seen {:compression false} gzip)))
    (is (nil? (get-in (seen {}) [:headers "vary"])))))

(deftest what-must-not-be-compressed-is-not
  (doseq [[why given] {"a coding of its own"  (response :headers {"Content-Type" "text/html" "Content-Encoding" "br"})
                       "no-transform"         (response :headers {"Content-Type"  "text/html"
                                                                  "Cache-Control" "public, No-Transform"})
                       "another type"         (response :headers {"Content-Type" "image/png"})
                       "no type"              (response :headers {})
                       "too short"            (response :body "short")
                       "a range of a 200"     (response :headers {"Content-Type" "text/html" "Content-Range" "bytes 0-1/2"})
                       "its own choice"       (response :compression false)
                       "a part"               (response :status 206)}]
    (testing why
      (let [answer (answer-of {} given)]
        (is (not= "gzip" (get-in answer [:headers "content-encoding"])))
        (is (= (:body given) (:body answer)))
        (is (= (when (= 206 (:status given)) "Accept-Encoding") (get-in answer [:headers "vary"]))))))
  (wire/with-server [{:keys [port]} (fn [_] (response)) {:compression true}]
    (with-open [conn (wire/connect port)]
      (wire/send! conn "GET / HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n")
      (let [{:keys [headers body]} (wire/answer conn)]
        (is (nil? (headers "content-encoding")))
        (is (= text body))))))

(defn- ask
  "The head of the response to `method`; the connection ends."
  [port method & headers]
  (with-open [conn (wire/connect port)]
    (wire/send! conn (str/replace-first (apply wire/get-request "/" headers) "GET" method))
    (wire/answer conn :head? (= "HEAD" method))))

(deftest a-response-to-head-has-the-fields-of-that-to-get-without-a-length
  (let [file (files/temporary-file text), bytes (.getBytes ^String text "UTF-8")]
    (doseq [[what body options] [["String" text] ["bytes" bytes] ["File" file]
                                 ["a longer File" file {:body-buffer-size 1000}]
                                 ["seq" (list text)] ["a long seq" (repeat 60 text) {:body-buffer-size 1000}]
                                 ["short" "short"] ["a long plain File" (files/temporary-file (apply str (repeat 150 text)))]
                                 ["its own length" text {:legacy-content-length? false}]]
            :let [headers {"Content-Type" "text/html" "ETag" "\"a\"" "Accept-Ranges" "bytes" "Content-Length" (str (count text))}]]
      (testing what
        (wire/with-server [{:keys [port]} (fn [_] (response :body body :headers headers))
                           (merge {:compression {:min-size 100}} options)]
          (let [[get head] (for [method ["GET" "HEAD"]] (:headers (ask port method gzip)))
                fields     ["content-type" "content-encoding" "vary" "etag" "accept-ranges"]]
            (is (= (map get fields) (map head fields)))
            (is (= (when-not (get "content-encoding") (get "content-length")) (head "content-length")))))
        (testing "without Accept-Encoding"
          (wire/with-server [{:keys [port]} (fn [_] (response :body body :headers headers))
                             (merge {:compression true} options)]
            (let [[get head] (for [method ["GET" "HEAD"]] (:headers (ask port method)))]
              (is (nil? (head "vary")))
              (is (or (get "transfer-encoding") (= (get "content-length") (head "content-length")))))))))
    (wire/with-server [{:keys [port]} #(sse/stream % {}) {:compression true}]
      (is (= ["gzip" "no-cache" "Accept-Encoding" nil]
             (map (:headers (ask port "HEAD" gzip)) ["content-encoding" "cache-control" "vary" "content-length"]))))))

(deftest a-file-of-any-length-that-would-be-compressed-for-others-says-so
  (doseq [[about times body vary] [["short"                   1   identity "Accept-Encoding"]
                                   ["beyond the buffer"       20  identity "Accept-Encoding"]
                                   ["a part, with 200"        20  #(server/file-part % 0 100000) "Accept-Encoding"]
                                   ["left to the kernel"      150 identity nil]]
          :let [content (apply str (repeat times text))]
          given [{"Content-Type" "text/html"} {"Content-Type" "text/html" "Vary" "Accept-Encoding"} {"Content-Type" "image/png"}]
          method ["GET" "HEAD"]]
    (testing (str method " " about " " given)
      (wire/with-server [{:keys [port]} (fn [_] (response :body (body (files/temporary-file content)) :headers given))
                         {:compression true :body-buffer-size 20000}]
        (let [{:keys [status headers]} (ask port method ["Accept-Encoding" "identity"])]
          (is (= [200 nil (or (given "Vary") (when (= "text/html" (given "Content-Type")) vary))]
                 [status (headers "content-encoding") (headers "vary")])))))))

(deftest a-304-names-the-validators-and-vary-of-the-200
  (doseq [[why accepts headers vary etag length]
          [["coded"        "gzip" {"Content-Type" "text/html"} "Accept-Encoding" "W/\"a\"" nil]
           ["plain"        "br"   {"Content-Type" "text/html"} "Accept-Encoding" "\"a\"" "9"]
           ["other type"   "gzip" {"Content-Type" "image/png"} nil "\"a\"" "9"]
           ["unknown type" "gzip" {} "Accept-Encoding" "W/\"a\"" nil]
           ["no-transform" "gzip" {"Content-Type" "text/html" "Cache-Control" "no-transform"} nil "\"a\"" "9"]
           ["own coding"   "gzip" {"Content-Type" "text/html" "Content-Encoding" "br"} nil "\"a\"" "9"]
           ["own Vary"     "gzip" {"Content-Type" "text/html" "Vary" "accept-encoding"} "accept-encoding" "W/\"a\"" nil]]]
    (testing why
      (wire/with-server [{:keys [port]} (fn [_] {:status 304 :headers (assoc headers "ETag" "\"a\"" "Content-Length" 9)})
                         {:compression true}]
        (doseq [method ["GET" "HEAD"]]
          (let [{:keys [status headers]} (ask port method ["Accept-Encoding" accepts])]
            (is (= [304 vary etag length] (cons status (map headers ["vary" "etag" "content-length"]))))))))))

(deftest a-digest-of-the-plain-body-keeps-it-plain
  (doseq [digest ["Content-Digest" "Repr-Digest" "Digest" "Content-MD5"]]
    (let [{:keys [headers body] :as answer} (answer-of {} (response :headers {"Content-Type" "text/html" digest "x"}))]
      (is (not (coded? answer)))
      (is (nil? (headers "vary")))
      (is (= text body)))))

(deftest a-range-is-one-of-the-plain-body-or-is-ignored
  (let [file    (files/temporary-file text)
        handler (server/wrap-range (fn [{:keys [request-method headers]}]
                                     {:status 200 :body file
                                      :headers {"Content-Type" (headers "x-type") "ETag" "\"a\""
                                                "Last-Modified" "Sat, 28 Nov 2026 12:00:00 GMT"}}))
        facts   (fn [{:keys [status headers]}]
                  (into [status] (map headers ["content-encoding" "content-range" "vary" "etag" "accept-ranges"])))
        part    (str "bytes 5-9/" (count text))
        wanted  (fn [accepts type & more]
                  (concat (when accepts [["Accept-Encoding" accepts]]) [["Range" "bytes=5-9"] ["X-Type" type]] more))]
    (doseq [[mode wrap options] [["in order" identity {}]
                                 ["asynchronous" (fn [handler] (fn [request respond raise] (handler request respond raise)))
                                  {:ring-async? true}]]
            :let [handler (if (= mode "in order")
                            handler
                            (wrap (fn [request respond _] (respond (handler request)))))]]
      (wire/with-server [{:keys [port]} handler (merge {:compression true} options)]
        (testing (str mode ": of what would be compressed, because the client may have a part of that")
          (doseq [more [nil [["If-Range" "\"a\""]] [["If-Range" "W/\"a\""]] [["If-Range" "Sat, 28 Nov 2026 12:00:00 GMT"]]]]
            (let [answer (apply fetch port (apply wanted "gzip" "text/html" more))]
              (is (= [200 "gzip" nil "Accept-Encoding" "W/\"a\"" nil] (facts answer)))
              (is (= text (:body answer))))))
        (testing "a part of the plain body says that there is another one"
          (is (= [206 nil part "Accept-Encoding" "\"a\"" "bytes"] (facts (apply fetch port (wanted "br" "text/html")))))
          (is (= [206 nil part nil "\"a\"" "bytes"] (facts (apply fetch port (wanted nil "text/html"))))))
        (testing "what is never compressed has parts"
          (is (= [206 nil part nil "\"a\"" "bytes"] (facts (apply fetch port (wanted "gzip" "video/mp4"))))))))
    (let [long-file (files/temporary-file (apply str (repeat 150 text)))]
      (wire/with-server [{:keys [port]} (server/wrap-range (fn [_] (response :body long-file))) {:compression true}]
        (is (= 206 (:status (apply fetch port (wanted "gzip" "-")))) "a file that is too long to be compressed")))
    (wire/with-server [{:keys [port]} (server/wrap-range (fn [_] (response :body file :compression false))) {:compression true}]
      (is (= 206 (:status (apply fetch port (wanted "gzip" "-")))) "its own choice"))
    (is (= 206 (:status ((server/wrap-range (fn [_] {:status 200 :body file}))
                         {:request-method :get :headers {"range" "bytes=0-1" "accept-encoding" "gzip"}})))
        "without a server")))

(deftest the-head-says-what-was-done
  (let [head (fn [headers]
               (:headers (answer-of {} (response :headers (merge {"Content-Type" "text/html; charset=utf-8"} headers)))))]
    (is (= "W/\"abc\"" ((head {"ETag" "\"abc\""}) "etag")))
    (is (= "W/\"abc\"" ((head {"etag" "W/\"abc\""}) "etag")))
    (is (= "Cookie, Accept-Encoding" ((head {"Vary" "Cookie"}) "vary")))
    (is (= "Cookie, accept-encoding" ((head {"Vary" "Cookie, accept-encoding"}) "vary")))
    (is (= "*" ((head {"Vary" "*"}) "vary")))
    (is (= ["Cookie, Accept-Encoding" "\"odd"] (map (head {"Vary" ["Cookie" "Accept-Encoding"] "X" "\"odd"}) ["vary" "x"])))
    (is (not= "5" ((head {"Content-Length" "5"}) "content-length")))
    (is (= "yes" ((head {"ETag" "\"a\"" "X-After" "yes"}) "x-after")))))

(deftest options-say-which-bodies-and-how
  (is (coded? (answer-of {:compression {:min-size 0}} (response :body "x"))))
  (is (not (coded? (answer-of {:compression {:min-size 100000}} (response)))))
  (is (coded? (answer-of {:compression {:types #{"image/x"}}} (response :headers {"Content-Type" "Image/X; a=b"}))))
  (is (not (coded? (answer-of {:compression {:types #{"image/x"}}} (response)))))
  (is (coded? (answer-of {:compression {:types #(str/starts-with? % "app")}} (response))))
  (is (coded? (answer-of {:compression false} (response :compression true))) "the response's own word counts")
  (is (coded? (answer-of {:compression {:encodings ["gzip"] :level {"gzip" 3} :window-bits 9}} (response))))
  (let [length (fn [level] (:length (answer-of {:compression {:level level}} (response))))]
    (is (< (long (length 9)) (long (length 1)))))
  (doseq [[type expected] {"text/plain" true, "application/problem+json" true, "image/svg+xml" true
                           "application/javascript" true, "application/wasm" true, "application/octet-stream" false
                           "image/jpeg" false, "application/zip" false}]
    (is (= expected (coded? (answer-of {} (response :headers {"Content-Type" type})))) type)))

(deftest a-predicate-that-throws-fails-its-response-and-no-other-body
  (let [pausing (fn []
                  (let [in (PipedInputStream.), out (PipedOutputStream. in)]
                    (.write out (.getBytes "first"))
                    [in out]))
        opened  (atom [])]
    (wire/with-server [{:keys [port]} (fn [{:keys [uri]}]
                                        (let [[in out] (pausing)]
                                          (swap! opened conj out)
                                          {:status 200 :headers {"Content-Type" (subs uri 1)} :body in}))
                       {:compression {:types #(if (= "bad" %) (throw (IllegalStateException. "predicate")) false)}}]
      (doseq [[path status] [["/bad" 500] ["/good" 200]]]
        (with-open [conn (wire/connect port)]
          (wire/send! conn (wire/get-request path gzip))
          (is (= status (:status (wire/read-head conn))) path)))
      (run! (fn [^Closeable out] (.close out)) @opened))))

(deftest a-range-of-the-plain-body-is-not-offered-for-a-compressed-one
  (doseq [etag [nil "\"abc\""], before? [true false]]
    (let [ranges  ["Accept-Ranges" "bytes"]
          headers (into (array-map "Content-Type" "text/html")
                        (cond-> [] before? (conj ranges) etag (conj ["ETag" etag]) (not before?) (conj ranges)
                          true (conj ["X-After" "yes"])))
          {:keys [headers body] :as answer} (answer-of {} (response :headers headers))]
      (is (coded? answer))
      (is (= [nil (some->> etag (str "W/")) "yes" text] (conj (mapv headers ["accept-ranges" "etag" "x-after"]) body)))))
  (is (= "bytes" (get-in (answer-of {} (response :body "short" :headers {"Content-Type" "text/html" "Accept-Ranges" "bytes"}))
                         [:headers "accept-ranges"]))))

(deftest a-long-file-is-left-to-the-kernel
  (let [content (apply str (repeat 150 text))]
    (is (< 1048576 (count content)))
    (let [answer (answer-of {} (response :body (files/temporary-file content)))]
      (is (not (coded? answer)))
      (is (= content (:body answer))))))

(deftest wrong-options-are-named-before-anything-is-bound
  (doseq [[value named] {{:encodings ["br"]}       #":compression :encodings \"br\": expected \"gzip\", the only coding that is built in"
                         {:encodings ["gzip" "zstd"]} #":encodings \"zstd\""
                         {:encodings []}           #":encodings \[\]"
                         {:encodings "gzip"}       #":encodings \"gzip\": expected a vector"
                         {:level 0}                #":level 0: expected an integer from 1 to 9"
                         {:level 10}               #":level 10"
                         {:level {"br" 5}}         #":compression :level \"br\": expected \"gzip\", the only coding that is built in"
                         {:min-size -1}            #":min-size -1"
                         {:min-size "1"}           #":min-size \"1\""
                         {:types "text/html"}      #":types \"text/html\": expected a set"
                         {:types ["text/html"]}    #":types \[\"text/html\"\]: expected a set"
                         {:types :text}            #":types :text: expected a set"
                         {:window-bits 8}          #":window-bits 8: expected an integer from 9 to 15"
                         {:window-bits 16}         #":window-bits 16"
                         {:lvl 1}                  #":compression :lvl: expected one of :encodings"
                         "gzip"                    #":compression \"gzip\": expected true, false, or a map"
                         :gzip                     #":compression :gzip"}]
    (is (thrown-with-msg? IllegalArgumentException named
                          (server/run-server (fn [_]) {:port 0 :ip "127.0.0.1" :compression value}))
        (pr-str value)))
  (let [{:keys [status body]} (answer-of {} (response :compression {:lvl 1}))]
    (is (= 500 status))
    (is (str/includes? body ":lvl"))))

(deftest compressed-responses-share-a-connection-with-plain-and-pipelined-ones
  (wire/with-server [{:keys [port]} (fn [{:keys [uri]}] (response :body (str uri text))) {:compression true}]
    (with-open [conn (wire/connect port)]
      (wire/send! conn (str/join (for [i (range 20)]
                                   (apply wire/get-request (str "/" i) (when (even? i) [gzip])))))
      (doseq [i (range 20)]
        (let [{:keys [headers body]} (wire/answer conn)]
          (is (= (str "/" i text)
                 (if (headers "content-encoding") (gunzip (.getBytes ^String body "ISO-8859-1")) body))))))))

;;;; Streams

(defn- open-stream!
  "A connection to a stream whose head has been read, with an :inflater for what follows."
  ^Closeable [port & headers]
  (let [conn (wire/connect port)]
    (wire/send! conn (apply wire/get-request "/" headers))
    (assoc conn :head (wire/read-head conn) :inflater (Inflater. true) :begun (atom false))))

(defn- read-chunk ^bytes [conn]
  (let [size  (Long/parseLong (wire/read-line! conn) 16)
        chunk (wire/read-exactly conn size)]
    (wire/read-line! conn)
    chunk))

(defn- decode-chunk
  "The text of the next chunk, decoded with nothing but what has arrived."
  [{:keys [^Inflater inflater begun] :as conn}]
  (let [chunk  (read-chunk conn)
        start  (if (compare-and-set! begun false true) 10 0)
        out    (ByteArrayOutputStream.)
        buffer (byte-array 8192)]
    (.setInput inflater chunk start (- (alength chunk) start))
    (loop []
      (let [n (.inflate inflater buffer)]
        (when (pos? n)
          (.write out buffer 0 n)
          (recur))))
    (is (or (.finished inflater) (zero? (.getRemaining inflater))))
    (.toString out "UTF-8")))

(deftest each-send-on-a-compressed-channel-can-be-decoded-when-it-arrives
  (let [opened  (LinkedBlockingQueue.)
        pieces  (concat ["first " "second\n" (apply str (repeat 9000 "long ")) "é 😀"]
                        (map #(str "piece " %) (range 200)))
        handler (fn [req]
                  (server/as-channel req {:on-open (fn [ch]
                                                     (server/send! ch {:headers {"Content-Type" "text/plain"}} false)
                                                     (.put opened ch))}))]
    (wire/with-server [{:keys [port]} handler {:compression true}]
      (with-open [conn (open-stream! port gzip)]
        (is (= ["gzip" "chunked" "Accept-Encoding"]
               (map (:headers (:head conn)) ["content-encoding" "transfer-encoding" "vary"])))
        (let [ch (.poll opened wire/patience-ms TimeUnit/MILLISECONDS)]
          (doseq [piece pieces]
            (is (server/send! ch piece false))
            (is (= piece (decode-chunk conn))))
          (server/close ch)
          (is (= "" (decode-chunk conn)))
          (is (.finished ^Inflater (:inflater conn)) "the coding ends, too")
          (is (= "0" (wire/read-line! conn))))))))

(deftest a-stream-is-one-gzip-file-for-a-peer-that-reads-it-whole
  (doseq [first-body [nil "" "first\n"]
          n          [0 1 50]]
    (let [handler (fn [req]
                    (server/as-channel req
                      {:on-open (fn [ch]
                                  (server/send! ch {:headers {"Content-Type" "text/plain"} :body first-body} false)
                                  (dotimes [i n] (server/send! ch (str "line " i "\n") false))
                                  (server/close ch))}))]
      (wire/with-server [{:keys [port]} handler {:compression {:level 6}}]
        (is (= (str first-body (str/join (for [i (range n)] (str "line " i "\n"))))
               (:body (fetch port gzip))))))))

(deftest events-and-heartbeats-are-decodable-at-once-and-the-head-does-not-forbid-it
  (let [opened  (LinkedBlockingQueue.)
        handler #(sse/stream % {:retry 5 :heartbeat 100 :on-open (fn [s] (.put opened s))})]
    (wire/with-server [{:keys [port]} handler {:compression true}]
      (with-open [conn (open-stream! port gzip)]
        (is (= ["gzip" "no-cache"] (map (:headers (:head conn)) ["content-encoding" "cache-control"])))
        (is (= "retry: 5\n\n" (decode-chunk conn)))
        (let [s    (.poll opened wire/patience-ms TimeUnit/MILLISECONDS)
              next #(first (remove #{":\n\n"} (repeatedly (fn [] (decode-chunk conn)))))]
          (is (= ":\n\n" (decode-chunk conn)))
          (doseq [i (range 50)]
            (is (= 1 (sse/broadcast! [s] {:id i :data "tick"})))
            (is (= (str "id: " i "\ndata: tick\n\n") (next))))))
      (with-open [conn (open-stream! port)]
        (is (= [nil "no-cache, no-transform"] (map (:headers (:head conn)) ["content-encoding" "cache-control"])))
        (is (= "retry: 5\n\n" (String. (read-chunk conn) "UTF-8")))))))

(defn- fragment
  "As Datastar sends them: a table whose numbers change."
  [i]
  {:event "datastar-patch-elements"
   :id    i
   :data  (str "selector #table\nmode inner\n"
            (str/join "\n" (for [r (range 8)]
                             (str "elements <tr id=\"row-" r "\"><td class=\"name\">Item " r "</td><td class=\"price\">"
                                  (rem (+ (* i 7919) (* r 31)) 1000) "</td><td class=\"n\">" (* i r) "</td></tr>"))))})

(deftest a-stream-of-fragments-takes-at-most-15-percent-of-its-bytes-whether-sent-or-broadcast
  (let [opened (LinkedBlockingQueue.)]
    (wire/with-server [{:keys [port]} #(sse/stream % {:on-open (fn [s] (.put opened s))}) {:compression true}]
      ;; One after the other: a head may be read before its stream is in the queue.
      (let [pairs   (doall (repeatedly 3 (fn [] [(open-stream! port gzip)
                                                 (.poll opened wire/patience-ms TimeUnit/MILLISECONDS)])))
            conns   (map first pairs)
            streams (map second pairs)]
        (try
          (sse/send! (first streams) {:data "one has been sent something before"})
          (is (= "data: one has been sent something before\n\n" (decode-chunk (first conns))))
          (doseq [i (range 200)]
            (if (even? i)
              (sse/broadcast! streams (fragment i))
              (doseq [s streams] (sse/send! s (fragment i)))))
          (doseq [conn conns]
            (let [counted (atom 0)
                  plain   (reduce (fn [sum i]
                                    (let [chunk  (read-chunk conn)
                                          start  (if (compare-and-set! (:begun conn) false true) 10 0)
                                          buffer (byte-array 8192)]
                                      (swap! counted + (alength ^bytes chunk))
                                      (.setInput ^Inflater (:inflater conn) chunk start (- (alength ^bytes chunk) (long start)))
                                      (let [n (.inflate ^Inflater (:inflater conn) buffer)]
                                        (is (str/includes? (String. buffer 0 n) (str "id: " i "\n")))
                                        (+ (long sum) n))))
                                  0 (range 200))]
              (is (< (/ (double @counted) (long plain)) 0.15))))
          (finally (run! (fn [^Closeable conn] (.close conn)) conns)))))))

(deftest a-channel-can-choose-for-itself
  (doseq [[server channel expected] [[true false nil] [false true "gzip"] [nil {:level 9} "gzip"] [true nil "gzip"]]]
    (wire/with-server [{:keys [port]} #(sse/stream % {:compression channel}) {:compression server}]
      (with-open [conn (open-stream! port gzip)]
        (is (= expected (get-in conn [:head :headers "content-encoding"])) (pr-str server channel)))))
  (is (thrown-with-msg? IllegalArgumentException #":encodings \"br\""
                        (sse/stream {} {:compression {:encodings ["br"]}}))))

(deftest a-slow-sources-parts-are-decodable-as-they-come
  (wire/with-server [{:keys [port]}
                     (fn [_]
                       (let [in  (PipedInputStream. 65536)
                             out (PipedOutputStream. in)]
                         (doto (Thread. ^Runnable (fn []
                                                    (dotimes [i 5]
                                                      (.write out (.getBytes (str "part " i "\n")))
                                                      (.flush out)
                                                      (Thread/sleep 150)) ; The source's pace.
                                                    (.close out)))
                           (.start))
                         {:status 200 :headers {"Content-Type" "text/event-stream"} :body in}))
                     {:compression true}]
    (with-open [conn (open-stream! port gzip)]
      (is (= "gzip" (get-in conn [:head :headers "content-encoding"])))
      (is (= (str/join (for [i (range 5)] (str "part " i "\n")))
             (loop [text ""]
               (let [more (decode-chunk conn)]
                 (if (.finished ^Inflater (:inflater conn)) (str text more) (recur (str text more))))))))))

(deftest senders-on-several-threads-keep-a-compressed-stream-whole
  (let [opened (LinkedBlockingQueue.)]
    (wire/with-server [{:keys [port]} #(sse/stream % {:heartbeat 1 :on-open (fn [s] (.put opened s))}) {:compression true}]
      (with-open [conn (open-stream! port gzip)]
        (let [s       (.poll opened wire/patience-ms TimeUnit/MILLISECONDS)
              senders (doall (for [t (range 4)]
                               (future (dotimes [i 250] (sse/send! s {:id (str t "-" i) :data "x"})))))
              closer  (future (run! deref senders) (sse/close s))
              text    (loop [text ""]
                        (let [more (decode-chunk conn)]
                          (if (.finished ^Inflater (:inflater conn)) (str text more) (recur (str text more)))))
              ids     (map second (re-seq #"id: (\S+)" text))]
          @closer
          (is (= (set (for [t (range 4), i (range 250)] (str t "-" i))) (set ids)))
          (is (= 1000 (count ids)))
          (doseq [t (range 4)]
            (is (= (for [i (range 250)] (str t "-" i)) (filter #(str/starts-with? % (str t "-")) ids)))))))))

(deftest a-full-compressed-stream-refuses-and-goes-on-without-a-gap
  (let [opened (LinkedBlockingQueue.)
        noise  (let [r (java.util.Random. 1)] #(str/join (repeatedly 3000 (fn [] (char (+ 33 (.nextInt r 90)))))))]
    (wire/with-server [{:keys [port]} #(sse/stream % {:max-pending-bytes 1000 :on-overflow :reject
                                                      :on-open           (fn [s] (.put opened s))})
                       {:compression true}]
      (with-open [conn (open-stream! port gzip)]
        (let [s        (.poll opened wire/patience-ms TimeUnit/MILLISECONDS)
              accepted (atom [])
              send!    (fn [] (let [event {:data (noise)}] (and (sse/send! s event) (swap! accepted conj (:data event)))))]
          (is (wire/eventually #(not (send!))) "it is full at some time")
          (let [reader (future (loop [text ""]
                                 (let [more (decode-chunk conn)]
                                   (if (.finished ^Inflater (:inflater conn)) (str text more) (recur (str text more))))))]
            (is (wire/eventually send!) "there is room again")
            (sse/close s)
            (is (= @accepted (map second (re-seq #"data: (.*)" (deref reader wire/patience-ms "")))))))))))

(deftest curl-decodes-whole-and-streamed-responses
  (wire/with-server [{:keys [port]}
                     (fn [{:keys [uri] :as req}]
                       (if (= "/stream" uri)
                         (sse/stream req {:on-open (fn [s]
                                                     (dotimes [i 100] (sse/send! s {:id i :data "tick"}))
                                                     (sse/close s))})
                         (response)))
                     {:compression true}]
    (let [curl #(shell/sh "curl" "-sSk" "--compressed" "-m" "20" "-D" "-" (str (name scheme/scheme) "://127.0.0.1:" port %))
          [whole stream] (map (comp :out curl) ["/" "/stream"])]
      (is (str/ends-with? whole text))
      (is (every? #(str/includes? % "Content-Encoding: gzip") [whole stream]))
      (is (str/ends-with? stream (str/join (for [i (range 100)] (str "id: " i "\ndata: tick\n\n"))))))))
