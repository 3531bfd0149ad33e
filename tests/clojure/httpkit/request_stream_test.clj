(ns httpkit.request-stream-test
  "Request bodies that the handler reads while they arrive."
  (:require [clojure.java.io     :as io]
            [clojure.string      :as str]
            [clojure.test        :refer [deftest is testing]]
            [httpkit.scheme      :as scheme]
            [httpkit.tls-certs   :as certs]
            [httpkit.tls-wire    :as tls]
            [httpkit.wire        :as wire]
            [org.httpkit.server  :as server]
            [ring.middleware.multipart-params :refer [wrap-multipart-params]]
            [ring.websocket.protocols :as ring])
  (:import (java.io ByteArrayOutputStream File IOException InputStream InterruptedIOException OutputStream)
           (java.net SocketTimeoutException)
           (java.util.concurrent CountDownLatch Executors TimeUnit)
           (org.httpkit ProtocolException RequestTooLargeException)))

(set! *warn-on-reflection* true)

(def ^:private buffer 100)

(defn- post [framing & headers]
  (str "POST /up HTTP/1.1\r\nHost: h\r\n" framing "\r\n" (str/join (map #(str % "\r\n") headers)) "\r\n"))

(defn- with-length [n & headers] (apply post (str "Content-Length: " n) headers))

(defn- a-chunk [^String text]
  (str (Long/toString (count text) 16) "\r\n" text "\r\n"))

(def ^:private chunked (post "Transfer-Encoding: chunked"))

(defn- text
  "Text of `n` characters that does not repeat within 256."
  [n]
  (str/join (take n (cycle (map char (range 33 123))))))

(defn- modes
  "Options of servers that run handlers in different ways, and the handler for each."
  [handler]
  {"own threads"   [handler {:allow-virtual? false :n-threads 4}]
   "default"       [handler {}]
   "a user's pool" [handler {:worker-pool (Executors/newFixedThreadPool 4)}]
   "asynchronous"  [(fn [req respond raise]
                      (try (respond (handler req)) (catch Throwable e (raise e))))
                    {:ring-async? true}]})

(defn- uploaded [{:keys [body content-length]}]
  {:status 200 :body (str (some-> body class .getSimpleName) " " (pr-str content-length) " "
                          (when body (slurp body)))})

(deftest a-body-beyond-the-buffer-is-a-stream-and-a-shorter-one-is-in-memory
  (doseq [[mode [handler options]] (modes uploaded)]
    (testing mode
      (wire/with-server [{:keys [port errors]} handler (assoc options :request-buffer-size buffer)]
        (with-open [conn (wire/connect port)]
          (let [long-text (text 300000) short-text (text buffer)
                body      (fn [& data]
                            (apply wire/send! conn data)
                            (:body (wire/answer conn)))]
            (is (= (str "RequestBodyStream 300000 " long-text) (body (with-length 300000) long-text)))
            (is (= (str "BytesInputStream 100 " short-text) (body (with-length buffer) short-text)))
            (is (= (str "RequestBodyStream nil " short-text short-text)
                   (body chunked (a-chunk short-text) (a-chunk short-text) "0\r\n\r\n")))
            (is (= (str "BytesInputStream 100 " short-text) (body chunked (a-chunk short-text) "0\r\n\r\n")))
            (is (= " 0 " (body (with-length 0))))
            (is (= " 0 " (body (wire/get-request "/"))) "all on one connection")))
        (is (= [] @errors))))))

(deftest without-the-option-the-handler-gets-whole-bodies
  (wire/with-server [{:keys [port]} uploaded {}]
    (is (= (str "BytesInputStream 300000 " (text 300000))
           (:body (wire/fetch port (str (with-length 300000) (text 300000))))))))

(deftest the-handler-runs-before-the-body-has-arrived-and-a-read-waits-for-it
  (doseq [[mode options] {"own threads" {:allow-virtual? false :n-threads 4} "default" {}
                          "a user's pool" {:worker-pool (Executors/newFixedThreadPool 4)}}]
    (testing mode
      (let [read-so-far (atom "")]
        (wire/with-server [{:keys [port]}
                           (fn [{:keys [uri ^InputStream body]}]
                             (if (= uri "/up")
                               (loop [b (.read body)]
                                 (if (neg? b)
                                   {:status 200 :body @read-so-far}
                                   (do (swap! read-so-far str (char b)) (recur (.read body)))))
                               {:status 200 :body "ok"}))
                           (assoc options :request-buffer-size 0)]
          (with-open [conn (wire/connect port)]
            (wire/send! conn (with-length 3))
            (doseq [[sent so-far] [["" ""] ["a" "a"] ["b" "ab"]]]
              (wire/send! conn sent)
              (is (wire/eventually #(= so-far @read-so-far)))
              (is (= "ok" (:body (wire/fetch port "/"))) "the reader that waits delays nothing else"))
            (wire/send! conn "c")
            (is (= "abc" (:body (wire/answer conn))))))))))

(deftest multipart-middleware-streams-to-a-file
  (let [size     (* 20 1024 1024)
        content  (byte-array size (byte 120))
        boundary "----x"
        before   (str "--" boundary "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"big\"\r\n"
                   "Content-Type: application/octet-stream\r\n\r\n")
        after    (str "\r\n--" boundary "--\r\n")
        handler  (wrap-multipart-params
                   (fn [{{{:keys [^File tempfile size]} "file"} :multipart-params}]
                     {:status 200 :body (pr-str [size (.length tempfile)])}))]
    (wire/with-server [{:keys [port]} handler {:request-buffer-size 65536 :max-body nil}]
      (with-open [conn (wire/connect port)]
        (wire/send! conn
          (with-length (+ size (count before) (count after))
            (str "Content-Type: multipart/form-data; boundary=" boundary))
          before content after)
        (is (= (pr-str [size size]) (:body (wire/answer conn))))))))

(deftest an-upload-is-sent-back-while-it-arrives
  (wire/with-server [{:keys [port]} (fn [{:keys [body]}] {:status 200 :body body}) {:request-buffer-size 0 :max-body nil}]
    (with-open [conn (wire/connect port)]
      (let [size  (* 30 1024 1024)
            piece (byte-array 65536 (byte 97))
            sent  (future (wire/send! conn (with-length size))
                          (dotimes [_ (quot size 65536)] (wire/send! conn piece)))]
        (is (= 200 (:status (wire/read-head conn))))
        (is (= size (reduce + (map count (wire/read-chunks conn)))))
        @sent))))

(deftest an-upload-over-tls-is-a-stream-too
  (wire/with-server [{:keys [server]}
                     (fn [{:keys [^InputStream body]}]
                       {:status 200 :body (str (.transferTo body (OutputStream/nullOutputStream)))})
                     {:request-buffer-size 0 :max-body nil :ssl-port 0 :tls (certs/pem "server")}]
    (with-open [conn (tls/connect (server/server-ssl-port server))]
      (dotimes [_ 2]
        (wire/send! conn (with-length 20000000) (byte-array 20000000))
        (is (= "20000000" (:body (wire/answer conn))))))))

;; Failures

(defn- failing
  "What reading threw, and the response or :closed, of an upload whose handler rethrows it. `begin` is sent before the
  handler runs, then `(go-on conn)` is called."
  [options begin go-on]
  (let [began (promise) thrown (promise)]
    (wire/with-server [{:keys [port errors events]}
                       (fn [{:keys [body]}]
                         (deliver began true)
                         (try (slurp body)
                              (catch Throwable e
                                (deliver thrown [(class e) (.getMessage e)])
                                ;; As libraries do.
                                (throw (ex-info "cannot be used" {} e)))))
                       (assoc options :request-buffer-size 10)]
      (with-open [conn (wire/connect port)]
        (wire/send! conn begin)
        (is (deref began wire/patience-ms false) "the handler runs")
        (let [answer (go-on conn)]
          {:thrown (deref thrown wire/patience-ms [:nothing]) :answer answer :errors @errors :events events})))))

(deftest a-peer-that-leaves-within-its-body-makes-the-read-throw-and-is-no-fault-of-the-handler
  (let [{:keys [thrown errors]}
        (failing {} (str (with-length 5000) (text 100))
                 (fn [conn]
                   (wire/half-close! conn)
                   (is (wire/closed? conn) "there is no response")))]
    (is (= [ProtocolException "request body ended early: 100 of 5000 bytes"] thrown))
    (is (= [] errors))))

(deftest broken-chunks-make-the-read-throw-and-the-response-a-400
  (let [{:keys [thrown answer errors events]}
        (failing {} (str chunked (a-chunk (text 100)))
                 (fn [conn]
                   (wire/send! conn "zz\r\n")
                   (wire/answer conn)))]
    (is (= ProtocolException (first thrown)))
    (is (= 400 (:status answer)))
    (is (= (second thrown) (:body answer)))
    (is (= "Close" (get-in answer [:headers "connection"])))
    (is (= ["httpkit.server.status.processed.400"] @events))
    (is (= [] errors))))

(deftest a-body-beyond-the-maximum-makes-the-read-throw-and-the-response-a-413
  (let [{:keys [thrown answer errors]}
        (failing {:max-body 1000} (str chunked (a-chunk (text 500)))
                 (fn [conn]
                   (wire/send! conn (a-chunk (text 600)))
                   (wire/answer conn)))]
    (is (= RequestTooLargeException (first thrown)))
    (is (= 413 (:status answer)))
    (is (= [] errors)))
  (testing "if the length says so, the handler is not called"
    (let [calls (atom 0)]
      (wire/with-server [{:keys [port]} (fn [_] (swap! calls inc) {:status 200}) {:request-buffer-size 10 :max-body 1000}]
        (is (= 413 (:status (wire/fetch port (with-length 1001)))))
        (is (= 0 @calls))))))

(deftest a-peer-that-stalls-makes-the-read-throw-and-the-response-a-408
  (let [{:keys [thrown answer errors events]}
        (failing {:body-timeout 300} (with-length 5000) wire/answer)]
    (is (= [SocketTimeoutException "request body: no progress in 300ms"] thrown))
    (is (= 408 (:status answer)))
    (is (= "Close" (get-in answer [:headers "connection"])))
    (is (= "" (:body answer)))
    (is (wire/eventually #(= #{"httpkit.server.timeout.body" "httpkit.server.status.processed.408"} (set @events)))
        (pr-str @events))
    (is (= [] errors))))

(deftest a-handler-may-answer-in-its-own-way-to-a-broken-body
  (let [began (promise)]
    (wire/with-server [{:keys [port errors]}
                       (fn [{:keys [body]}]
                         (deliver began true)
                         (try (slurp body) (catch ProtocolException e {:status 422 :body (.getMessage e)})))
                       {:request-buffer-size 10}]
      (with-open [conn (wire/connect port)]
        (wire/send! conn chunked (a-chunk (text 100)))
        (is (deref began wire/patience-ms false))
        (wire/send! conn "zz\r\n")
        (is (= 422 (:status (wire/answer conn))))
        (is (wire/closed? conn)))
      (is (= [] @errors)))))

(deftest an-exception-of-the-handler-itself-is-a-500-and-logged
  (wire/with-server [{:keys [port errors]} (fn [{:keys [^InputStream body]}] (.read body) (throw (ex-info "own" {})))
                     {:request-buffer-size 10}]
    (is (= 500 (:status (wire/fetch port (str (with-length 50) (text 50))))))
    (is (= 1 (count @errors)))))

(deftest reading-after-the-response-says-that-the-exchange-is-over
  (let [body (promise)]
    (wire/with-server [{:keys [port]}
                       (fn [req] (deliver body (:body req)) {:status 200 :body "early"})
                       {:request-buffer-size 0}]
      (with-open [conn (wire/connect port)]
        (wire/send! conn (with-length 1000))
        (is (= "early" (:body (wire/answer conn))))
        (is (thrown-with-msg? IOException #"^the exchange is over$" (.read ^InputStream @body)))
        (testing "and what is left is dropped"
          (wire/send! conn (text 1000) (with-length 0))
          (is (= "early" (:body (wire/answer conn)))))))))

(deftest a-closed-stream-ends-a-waiting-read
  (let [body (promise) outcome (promise)]
    (wire/with-server [{:keys [port]}
                       (fn [req]
                         (deliver body (:body req))
                         (when (:body req)
                           (deliver outcome (try (.read ^InputStream (:body req)) (catch IOException e (.getMessage e)))))
                         {:status 200 :body "done"})
                       {:request-buffer-size 0}]
      (with-open [conn (wire/connect port)]
        (wire/send! conn (with-length 1000))
        (.close ^InputStream (deref body wire/patience-ms nil))
        (is (= "the stream is closed" (deref outcome wire/patience-ms :waits)))
        (is (= "done" (:body (wire/answer conn))))
        (wire/send! conn (text 1000) (with-length 0))
        (is (= 200 (:status (wire/answer conn))))))))

(deftest an-interrupted-read-throws-and-the-body-can-be-read-on
  (doseq [[mode [_ options]] (dissoc (modes nil) "asynchronous")]
    (testing mode
      (let [reader      (promise)
            interrupted (promise)]
        (wire/with-server [{:keys [port]}
                           (fn [{:keys [^InputStream body]}]
                             (deliver reader (Thread/currentThread))
                             (try (.read body)
                                  (deliver interrupted false)
                                  (catch InterruptedIOException _
                                    (deliver interrupted (Thread/interrupted))))
                             {:status 200 :body (slurp body)})
                           (assoc options :request-buffer-size 0)]
          (with-open [conn (wire/connect port)]
            (wire/send! conn (with-length 5))
            (.interrupt ^Thread (deref reader wire/patience-ms nil))
            (is (true? (deref interrupted wire/patience-ms :waits)) "the thread knows it, too")
            (wire/send! conn "after")
            (is (= "after" (:body (wire/answer conn))))))))))

(deftest threads-that-read-one-body-get-each-byte-once
  (let [size 400000]
    (wire/with-server [{:keys [port]}
                       (fn [{:keys [^InputStream body]}]
                         (let [pieces (doall (for [step [1 700 1500 70000]]
                                               (future
                                                 (let [piece (byte-array step)
                                                       out   (ByteArrayOutputStream.)]
                                                   (loop [n (.read body piece)]
                                                     (if (neg? n)
                                                       (.toByteArray out)
                                                       (do (.write out piece 0 n) (recur (.read body piece)))))))))]
                           {:status 200 :body (pr-str (into (sorted-map) (frequencies (mapcat #(seq ^bytes @%) pieces))))}))
                       {:request-buffer-size 0 :body-window 20000}]
      (with-open [conn (wire/connect port)]
        (wire/send! conn (with-length size) (text size))
        (is (= (pr-str (into (sorted-map) (frequencies (map int (text size))))) (:body (wire/answer conn))))))))

(deftest an-input-stream-is-as-its-contract-says
  (wire/with-server [{:keys [port]}
                     (fn [{:keys [^InputStream body]}]
                       (let [five  (byte-array 5)
                             start [(.read body) (.read body five 1 2) (vec five) (.read body five 0 0)]
                             seen  (.available body)
                             skip  (.skip body 1000)
                             out   (ByteArrayOutputStream.)
                             rest  (.transferTo body out)]
                         {:status 200
                          :body   (pr-str [start (pos? seen) skip rest (.size out) (.read body) (.read body five)
                                           (.available body) (.markSupported body)])}))
                     {:request-buffer-size 0}]
    (is (= "[[33 2 [0 34 35 0 0] 0] true 1000 98997 98997 -1 -1 0 false]"
           (:body (wire/fetch port (str (with-length 100000) (text 100000))))))))

;; Expect

(deftest a-401-comes-before-the-body-is-asked-for
  (wire/with-server [{:keys [port]}
                     (fn [{:keys [headers body]}]
                       (if (headers "authorization") {:status 200 :body (slurp body)} {:status 401 :body "who?"}))
                     {:request-buffer-size 65536 :max-body nil}]
    (let [head #(apply with-length 5000000000 "Expect: 100-continue" %)]
      (with-open [conn (wire/connect port)]
        (wire/send! conn (head nil))
        (is (= 401 (:status (wire/answer conn))))
        (is (wire/closed? conn)))
      (with-open [conn (wire/connect port)]
        (wire/send! conn (head ["Authorization: x"]))
        (is (= 100 (:status (wire/read-head conn))) "the body is wanted")))))

(deftest curl-sends-no-body-that-the-handler-does-not-want
  (let [file (File/createTempFile "upload" ".bin")
        read (atom 0)]
    (try
      (with-open [out (io/output-stream file)] (.write out (byte-array 3000000)))
      (wire/with-server [{:keys [port]}
                         (fn [{:keys [uri body]}]
                           (when (= uri "/ok")
                             (let [out (ByteArrayOutputStream.)]
                               (io/copy body out)
                               (reset! read (.size out))))
                           {:status (if (= uri "/ok") 200 401)})
                         {:request-buffer-size 65536}]
        (let [curl (fn [path]
                     (let [process (-> (ProcessBuilder. ^"[Ljava.lang.String;"
                                         (into-array ["curl" "-sk" "-o" "/dev/null" "--expect100-timeout" "20"
                                                      "-H" "Expect: 100-continue" "-m" "60"
                                                      "-w" "%{http_code} %{size_upload}"
                                                      "-T" (str file) (str (name scheme/scheme) "://127.0.0.1:" port path)]))
                                       (.start))]
                       (slurp (.getInputStream process))))]
          (is (= "401 0" (curl "/no")))
          (is (= "200 3000000" (curl "/ok")))
          (is (= 3000000 @read))))
      (finally (.delete file)))))

;; Callbacks

(defn- collected
  "A handler that responds through a channel with what `on-body` was called with."
  [calls]
  (fn [req]
    (server/as-channel req
      {:on-open (fn [ch]
                  (server/on-body req
                    (fn [^bytes bytes last?]
                      (swap! calls conj [(String. bytes "ISO-8859-1") last?])
                      (when last? (server/send! ch (str/join (map first @calls)))))))})))

(deftest a-callback-is-given-the-body-piece-by-piece
  (doseq [[mode options] {"own threads"   (constantly {:allow-virtual? false :n-threads 4})
                          "default"       (constantly {})
                          "a user's pool" #(array-map :worker-pool (Executors/newFixedThreadPool 4))}
          [head pieces]  [[(with-length 300000) [(text 1000) (text 299000)]]
                          [chunked [(a-chunk (text 1000)) (a-chunk (text 299000)) "0\r\n\r\n"]]]]
    (testing (str mode " " head)
      (let [calls (atom [])]
        (wire/with-server [{:keys [port errors]} (collected calls) (assoc (options) :request-buffer-size 10)]
          (with-open [conn (wire/connect port)]
            (wire/send! conn head (first pieces))
            (is (wire/eventually #(= 1000 (reduce + (map (comp count first) @calls)))) "before the rest is sent")
            (apply wire/send! conn (rest pieces))
            (is (true? (= (str (text 1000) (text 299000)) (:body (wire/answer conn)))))
            (is (= [true] (keep second (filter second @calls))) "one call is the last")
            (is (true? (second (peek @calls)))))
          (is (= [] @errors)))))))

(deftest a-callback-is-given-a-body-that-is-no-stream-at-once
  (let [calls (atom [])]
    (wire/with-server [{:keys [port]} (collected calls) {}]
      (is (= "hello" (:body (wire/fetch port (str (with-length 5) "hello")))))
      (is (= [["hello" true]] @calls))
      (reset! calls [])
      (is (= "" (:body (wire/fetch port "/"))))
      (is (= [["" true]] @calls)))))

(deftest calls-are-made-one-at-a-time-and-the-sender-waits-for-a-slow-one
  (let [running (atom 0) together (atom 0) size (atom 0)]
    (wire/with-server [{:keys [port]}
                       (fn [req]
                         (server/as-channel req
                           {:on-open
                            (fn [ch]
                              (server/on-body req
                                (fn [^bytes bytes last?]
                                  (swap! together max (swap! running inc))
                                  (Thread/sleep 1)
                                  (swap! size + (alength bytes))
                                  (swap! running dec)
                                  (when last? (server/send! ch "done")))))}))
                       {:request-buffer-size 10 :max-body nil :body-window 1000}]
      (with-open [conn (wire/connect port)]
        (wire/send! conn (with-length 10000000) (byte-array 10000000))
        (is (= "done" (:body (wire/answer conn))))
        (is (= [1 10000000] [@together @size]))))))

(deftest a-body-that-was-asked-for-before-is-passed-on-one-call-at-a-time-too
  (let [calls (atom []), began (atom 0), gate (promise)]
    (wire/with-server [{:keys [port]}
                       (fn [req]
                         (server/as-channel req
                           {:on-open (fn [ch]
                                       (.available ^InputStream (:body req))
                                       (server/on-body req
                                         (fn [^bytes bytes last?]
                                           (swap! began inc)
                                           (deref gate wire/patience-ms nil)
                                           (swap! calls conj [(alength bytes) last?])
                                           (when last? (server/send! ch "done")))))}))
                       {:request-buffer-size 10}]
      (with-open [conn (wire/connect port)]
        (wire/send! conn (with-length 3000))
        (wire/send! conn (byte-array 1000))
        (is (wire/eventually #(= 1 @began)))
        (wire/send! conn (byte-array 1000))
        (Thread/sleep 100) ; nothing is to happen
        (is (= 1 @began))
        (deliver gate true)
        (wire/send! conn (byte-array 1000))
        (is (= "done" (:body (wire/answer conn))))
        (is (= [3000 [true]] [(reduce + (map first @calls)) (filter true? (map second @calls))]))))))

(deftest a-callback-that-throws-or-a-body-that-breaks-becomes-the-response
  (doseq [[expected logged rest] [[500 1 (a-chunk "fail")] [400 0 "zz\r\n"]]]
    (let [calls (atom 0)]
      (wire/with-server [{:keys [port errors]}
                         (fn [req]
                           (server/as-channel req
                             {:on-open (fn [_]
                                         (server/on-body req
                                           (fn [^bytes bytes _]
                                             (swap! calls inc)
                                             (when (= "fail" (String. bytes)) (throw (ex-info "own" {}))))))}))
                         {:request-buffer-size 10}]
        (with-open [conn (wire/connect port)]
          (wire/send! conn chunked (a-chunk (text 100)))
          (is (wire/eventually #(= 1 @calls)))
          (wire/send! conn rest)
          (is (= expected (:status (wire/answer conn))))
          (is (wire/closed? conn))
          (is (= logged (count @errors))))))))

(deftest a-callback-can-be-set-once
  (let [thrown (promise)]
    (wire/with-server [{:keys [port]}
                       (fn [req]
                         (server/on-body req (fn [_ _]))
                         (deliver thrown (try (server/on-body req (fn [_ _])) (catch IllegalStateException e (.getMessage e))))
                         {:status 200})
                       {:request-buffer-size 0}]
      (wire/fetch port (str (with-length 3) "abc"))
      (is (= "the body's callback is already set" (deref thrown wire/patience-ms nil))))))

;; Trailers and informational responses

(deftest trailers-are-there-once-the-body-has-been-read
  (wire/with-server [{:keys [port]}
                     (fn [{:keys [body headers] :as req}]
                       (let [before (server/trailers req)]
                         (when body (slurp body))
                         {:status 200 :body (pr-str [before (server/trailers req) (headers "x-sum")])}))
                     {:request-buffer-size 10}]
    (let [trailers "0\r\nX-Sum: 5\r\nX-A: 1\r\nX-A: 2\r\n\r\n"]
      (is (= (pr-str [nil {"x-sum" "5" "x-a" "1,2"} nil])
             (:body (wire/fetch port (str chunked (a-chunk (text 100)) trailers)))))
      (is (= (pr-str [nil nil "5"]) (:body (wire/fetch port (str chunked (a-chunk "a") trailers)))) "in memory: headers")
      (is (= (pr-str [nil nil nil]) (:body (wire/fetch port (str chunked (a-chunk (text 100)) "0\r\n\r\n")))))
      (is (= (pr-str [nil nil nil]) (:body (wire/fetch port "/")))))))

(deftest an-informational-response-comes-before-the-response
  (let [sent (promise)]
    (wire/with-server [{:keys [port]}
                       (fn [req]
                         (deliver sent (server/send-informational! req 103 {"Link" ["</a.css>" "</b.css>"]}))
                         {:status 200 :body "ok"})
                       {}]
      (with-open [conn (wire/connect port)]
        (wire/send! conn (wire/get-request "/"))
        (is (= {:status 103 :headers {"link" "</a.css>, </b.css>"}} (wire/read-head conn)))
        (is (= "ok" (:body (wire/answer conn))))
        (is (true? @sent))))))

(deftest no-informational-response-goes-to-http-1-0-or-behind-the-response
  (let [sent (atom [])]
    (wire/with-server [{:keys [port]}
                       (fn [req]
                         (swap! sent conj (server/send-informational! req 103 {}))
                         (server/as-channel req
                           {:on-open (fn [ch]
                                       (server/send! ch "ok" false)
                                       (swap! sent conj (server/send-informational! req 103 {}))
                                       (server/close ch))}))
                       {}]
      (is (= 200 (:status (wire/fetch port "GET / HTTP/1.0\r\n\r\n"))))
      (is (wire/eventually #(= [false false] @sent)))))
  (wire/with-server [{:keys [port]}
                     (fn [req]
                       {:status 200
                        :body   (pr-str (for [status [101 200 99]]
                                          (try (server/send-informational! req status {})
                                               (catch IllegalArgumentException _ :refused))))})
                     {}]
    (is (= "(:refused :refused :refused)" (:body (wire/fetch port "/"))))))

;; Many

(deftest a-thousand-stalled-uploads-leave-the-server-quick
  (let [virtual? (<= 21 (.feature (Runtime/version)))
        n        (if virtual? 1000 100)
        reading  (CountDownLatch. n)]
    (wire/with-server [{:keys [port]}
                       (fn [{:keys [uri ^InputStream body]}]
                         (when (= uri "/up")
                           (.countDown reading)
                           (while (<= 0 (.read body))))
                         {:status 200 :body "ok"})
                       {:request-buffer-size 10 :n-max-threads (+ n 10)}]
      (let [conns (doall (repeatedly n #(doto (wire/connect port) (wire/send! (with-length 5000) (text 2500)))))]
        (try
          (is (.await reading wire/patience-ms TimeUnit/MILLISECONDS) "all are being read")
          (let [start (System/nanoTime)]
            (dotimes [_ 20] (is (= "ok" (:body (wire/fetch port "/")))))
            (is (< (/ (- (System/nanoTime) start) 20e6) 1000.0) "ms for a request"))
          (doseq [conn conns] (wire/send! conn (text 2500)))
          (doseq [conn conns] (is (= "ok" (:body (wire/answer conn)))))
          (finally (run! #(.close ^java.io.Closeable %) conns)))))))

(deftest a-thousand-half-sent-bodies-need-no-thread-where-the-handler-gets-whole-ones
  (wire/with-server [{:keys [port]}
                     (fn [{:keys [uri body]}] {:status 200 :body (if (= uri "/up") (str (count (slurp body))) "ok")})
                     {:request-buffer-size nil :n-min-threads 4 :n-max-threads 4 :allow-virtual? false}]
    (let [conns (doall (repeatedly 1000 #(doto (wire/connect port) (wire/send! (with-length 5000) (text 2500)))))]
      (try
        (let [start (System/nanoTime)]
          (dotimes [_ 20] (is (= "ok" (:body (wire/fetch port "/")))))
          (is (< (/ (- (System/nanoTime) start) 20e6) 1000.0) "ms for a request"))
        (doseq [conn conns] (wire/send! conn (text 2500)))
        (doseq [conn conns] (is (= "5000" (:body (wire/answer conn)))))
        (finally (run! #(.close ^java.io.Closeable %) conns))))))

(deftest a-websocket-handshake-whose-body-is-a-stream-is-rejected-and-no-channel-opens
  (let [opened  (atom 0)
        channel #(server/as-channel % {:on-open (fn [_] (swap! opened inc)) :on-receive (fn [_ _])})
        ring    (fn [_] {:ring.websocket/listener (reify ring/Listener
                                                    (on-open    [_ _] (swap! opened inc))
                                                    (on-message [_ _ _])
                                                    (on-pong    [_ _ _])
                                                    (on-error   [_ _ _])
                                                    (on-close   [_ _ _ _]))})
        ask     (fn [framing]
                  (wire/get-request "/ws" ["Upgrade" "websocket"] ["Connection" "Upgrade"] ["Sec-WebSocket-Version" "13"]
                                    ["Sec-WebSocket-Key" "dGhlIHNhbXBsZSBub25jZQ=="] framing))]
    (doseq [[kind handler] {"channel" channel "Ring" ring}]
      (wire/with-server [{:keys [port errors]} handler {:request-buffer-size buffer}]
        (doseq [[framing & parts] [[["Content-Length" "101"] (text 101)]
                                   [["Content-Length" "101"] (text 10)]
                                   [["Content-Length" "101"] ""]
                                   [["Transfer-Encoding" "chunked"] (a-chunk (text 101))]]]
          (testing [kind framing parts]
            (with-open [conn (wire/connect port)]
              (apply wire/send! conn (ask framing) parts)
              (is (= [400 "The body of a WebSocket handshake is too long"] ((juxt :status :body) (wire/answer conn)))))))
        (is (= 0 @opened))
        (with-open [conn (wire/connect port)]
          (wire/send! conn (ask ["Content-Length" (str buffer)]) (text buffer))
          (is (= 101 (:status (wire/read-head conn))) "one in memory harms nothing"))
        (is (wire/eventually #(= 1 @opened)))
        (reset! opened 0)
        (is (= [] @errors))))))

(deftest a-websocket-handshake-whose-streamed-body-a-middleware-has-replaced-gets-400-and-its-channel-closes
  (let [closes     (atom [])
        closed     #(swap! closes conj %2)
        as-channel #(server/as-channel % {:on-open  (fn [_] (swap! closes conj :opened))
                                          :on-close closed})
        by-hand    (fn [{ch :async-channel :as req}]
                     (server/on-close ch (partial closed ch))
                     (server/send-websocket-handshake! ch req)
                     {:body ch})]
    (doseq [[kind handler] {"as-channel" as-channel "by hand" by-hand}]
      (testing kind
        (wire/with-server [{:keys [port errors]} (comp handler #(assoc % :body nil)) {:request-buffer-size buffer}]
          (with-open [conn (wire/connect port)]
            (wire/send! conn (wire/get-request "/ws" ["Upgrade" "websocket"] ["Connection" "Upgrade"]
                                               ["Sec-WebSocket-Version" "13"] ["Content-Length" (str (inc buffer))]
                                               ["Sec-WebSocket-Key" "dGhlIHNhbXBsZSBub25jZQ=="]))
            (is (= [400 "The body of a WebSocket handshake is too long"] ((juxt :status :body) (wire/answer conn))))
            (is (wire/eventually #(= [:server-close] @closes))))
          (reset! closes [])
          (is (= [] @errors)))))))
