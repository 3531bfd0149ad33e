(ns httpkit.client-uploads-test
  "Many uploads at once: what they cost, and that none holds up another."
  (:require [clojure.java.io     :as io]
            [clojure.string      :as str]
            [clojure.test        :refer [deftest is testing]]
            [httpkit.client-peer :as peer]
            [org.httpkit.client  :as client])
  (:import (java.io File FileInputStream InputStream PipedInputStream PipedOutputStream RandomAccessFile)
           (java.net InetAddress InetSocketAddress ServerSocket)
           (java.util.concurrent CountDownLatch TimeUnit)))

(set! *warn-on-reflection* true)

(def ^:private megabyte 1048576)

(defn- file-of
  "A file with as many megabytes, deleted with the JVM."
  ^File [n]
  (let [file (doto (File/createTempFile "upload" ".bin") (.deleteOnExit))]
    (with-open [f (RandomAccessFile. file "rw")] (.setLength f (* n megabyte)))
    file))

(defn- own-threads
  "Names of the client's threads that are not loops."
  []
  (filter #(str/starts-with? % "http-kit-client-") (map #(.getName ^Thread %) (keys (Thread/getAllStackTraces)))))

(defn- deaf-peer
  "Accepts connections and reads the heads of requests; `greeted` counts them. Reads no body until `go` is delivered."
  [^CountDownLatch greeted go]
  (fn [conn]
    (peer/read-head! conn)
    (.countDown greeted)
    @go
    (peer/respond! conn "ok")
    (peer/await-end! conn)))

(deftest uploads-of-files-to-peers-that-do-not-read-hold-no-threads
  (let [n       400
        greeted (CountDownLatch. n)
        go      (promise)
        file    (file-of 8)
        c       (client/make-client {})]
    (peer/with-peer [p (deaf-peer greeted go) :server (ServerSocket. 0 n (InetAddress/getByName "127.0.0.1"))]
      (let [results (vec (for [i (range n)]
                           (client/post (:url p) (merge {:client c :timeout 120000}
                                                        (case (int (mod i 4))
                                                          0 {:body file}
                                                          1 {:body (io/input-stream file) :chunked? true}
                                                          2 {:body (java.io.FileInputStream. file)}
                                                          3 {:multipart [{:name "f" :content file}]})))))]
        (is (.await greeted 60 TimeUnit/SECONDS))
        (testing "once their windows are full"
          (is (peer/eventually #(> 40 (count (own-threads)))) (pr-str (frequencies (map #(str/replace % #"\d+" "N") (own-threads))))))
        (testing "and another one gets through"
          (peer/with-peer [q (peer/answering (fn [{:keys [body]}] (str (count body))))]
            (doseq [opts [{:body file} {:multipart [{:name "f" :content file}]} {:body (java.io.FileInputStream. file)}]]
              (is (<= (* 8 megabyte) (Long/parseLong (:body (deref (client/post (:url q) (assoc opts :client c)) 60000 {:body "-1"}))))))))
        (deliver go true)
        (is (= {200 n} (frequencies (map #(:status (deref % 60000 nil)) results))))))
    (client/client-stop! c)))

(deftest streams-that-have-nothing-hold-up-no-file-and-no-stream
  (let [n      100
        silent (vec (repeatedly n #(let [out (PipedOutputStream.)] [out (PipedInputStream. out)])))
        file   (file-of 2)
        c      (client/make-client {})]
    (peer/with-peer [p (peer/answering (fn [{:keys [body]}] (str (count body)))) :server (ServerSocket. 0 n (InetAddress/getByName "127.0.0.1"))]
      (let [waiting (vec (for [[_ in] silent] (client/post (:url p) {:client c :body in :chunked? true})))
            length  #(:body (deref % 30000 nil))]
        (is (peer/eventually #(= n (:active (client/client-stats c)))))
        (is (= (str (* 2 megabyte)) (length (client/post (:url p) {:client c :body file}))))
        (is (= "5" (length (client/post (:url p) {:client c :body (java.io.ByteArrayInputStream. (.getBytes "hello")) :chunked? true}))))
        (doseq [[^PipedOutputStream out] silent]
          (.write out (.getBytes "abc"))
          (.close out))
        (is (= {"3" n} (frequencies (map length waiting))))))
    (client/client-stop! c)))

(deftest the-source-is-closed-whatever-becomes-of-the-request
  (doseq [[about serve] {"a response" (fn [conn] (peer/read-request! conn) (peer/respond! conn "ok"))
                         "an early response" (fn [conn]
                                               (peer/read-head! conn)
                                               (peer/send! conn "HTTP/1.1 413 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                                               (peer/await-end! conn))
                         "a broken connection" (fn [conn] (peer/read-head! conn) (peer/break! conn))
                         "a timeout" (fn [conn] (peer/read-head! conn) (peer/await-end! conn))}]
    (testing about
      (let [closes (atom 0)
            left   (atom (* 20 megabyte))
            body   (proxy [InputStream] []
                     (read
                       ([] (if (neg? (swap! left dec)) -1 0))
                       ([_ _ len] (let [k (min len @left)] (if (pos? k) (do (swap! left - k) (int k)) -1))))
                     (close [] (swap! closes inc)))]
        (peer/with-peer [p serve]
          (deref (client/post (:url p) {:body body :chunked? true :timeout 1000}) 30000 nil)
          (is (peer/eventually #(= 1 @closes))))))))

(deftest an-early-success-does-not-cut-off-the-upload
  (let [length  (* 8 megabyte)
        file    (file-of 8)
        arrived (atom nil)
        early   (fn [conn]
                  (let [head (peer/read-head! conn)]
                    (peer/respond! conn "ok")
                    (reset! arrived (count (peer/read-body! conn head)))
                    (when (peer/read-request! conn)
                      (peer/respond! conn "next"))))]
    (doseq [[about body] {"a byte array" #(hash-map :body (byte-array length))
                          "a File"       #(hash-map :body file)
                          "a stream"     #(hash-map :body (io/input-stream file) :headers {"Content-Length" (str length)})
                          "chunks"       #(hash-map :body (io/input-stream file) :chunked? true)}
            as           [:text :stream]]
      (testing [about as]
        (reset! arrived nil)
        (peer/with-peer [p early]
          (let [{:keys [status body error]} (deref (client/post (:url p) (assoc (body) :as as)) 30000 nil)]
            (is (= [200 nil "ok"] [status error (if (= as :stream) (some-> body slurp) body)]))
            (is (peer/eventually #(= length @arrived)) (str @arrived))
            (is (= "next" (:body (deref (client/get (:url p)) 30000 nil))))
            (is (= 1 (count @(:sockets p))) "the connection is used again")))))))

(deftest a-peer-that-reads-slowly-but-steadily-is-not-silent
  (let [length (* 400 1024)
        file   (file-of 1)
        server (doto (ServerSocket.)
                 (.setReceiveBufferSize 16384) ; else the system would read ahead for the peer
                 (.bind (InetSocketAddress. "127.0.0.1" 0)))
        serve  (fn [{:keys [^InputStream in] :as conn}]
                 (loop []
                   (when (peer/read-head! conn)
                     (dotimes [_ 20]
                       (Thread/sleep 100)
                       (.readNBytes in (quot length 20)))
                     (peer/respond! conn "read")
                     (recur))))]
    (with-open [f (RandomAccessFile. file "rw")] (.setLength f length))
    (peer/with-peer [p serve :server server]
      (doseq [[about body] {"a byte array" #(hash-map :body (byte-array length))
                            "a File"       #(hash-map :body file)
                            "a stream"     #(hash-map :body (io/input-stream file) :headers {"Content-Length" (str length)})}
              time         [:first :again]]
        (testing [about time]
          (is (= ["read" nil]
                 ((juxt :body :error) (deref (client/post (:url p) (assoc (body) :idle-timeout 1000)) 30000 nil)))))))))

(defn- error-of [request]
  (try (:error (deref (client/request request) 10000 nil))
       (catch Exception e e)))

(deftest a-source-is-closed-once-however-long-it-is
  (peer/with-peer [p (peer/answering (fn [{:keys [body]}] (str (count body))))]
    (doseq [n    [0 10 megabyte (inc megabyte) (* 3 megabyte)]
            opts [{} {:headers {"Content-Length" (str n)}} {:chunked? true}]]
      (let [closed (atom 0)
            source (proxy [java.io.ByteArrayInputStream] [(byte-array n)]
                     (close [] (swap! closed inc)))]
        (is (= (str n) (:body (deref (client/post (:url p) (assoc opts :body source)) 20000 nil))) [n opts])
        (is (peer/eventually #(pos? (long @closed))) [n opts])
        (is (= 1 @closed) [n opts])))))

(deftest sources-are-closed-if-the-request-cannot-be-made
  (let [source (fn [closed called]
                 (proxy [InputStream] []
                   (read ([] -1) ([_ _ _] -1))
                   (close [] (swap! closed conj called))))
        here   "http://127.0.0.1:1/"]
    (doseq [[about request expected] [["a URL" {:url "ftp://x"} "ftp is not supported"]
                                      ["no URL" {:url "::"} "Expected scheme name"]
                                      ["a proxy" {:url here :proxy-url "ftp://x"} "ftp for proxy is not supported"]]
            chunked?                 [false true]]
      (testing [about chunked?]
        (let [closed (atom [])
              error  (error-of (assoc request :method :post :body (source closed "body") :chunked? chunked?))]
          (is (str/includes? (str (ex-message error)) expected))
          (is (= ["body"] @closed)))))
    (doseq [[about request] {"an option"        {:timeout "5"}
                             "an option's name" {:proxy-tunnel? true}
                             "no option"        {:url nil}
                             "parameters"       {:query-params {5 1}}
                             "a client"         {:client (delay 5)}
                             "a worker pool"    {:worker-pool (delay 5)}
                             "headers"          {:headers [1]}
                             "a callback"       nil}
            sources         [[:body] [:part] [:body :part]]]
      (testing [about sources]
        (let [closed (atom #{})
              opts   (cond-> (merge {:url here :method :post} request)
                       (some #{:body} sources) (assoc :body (source closed :body))
                       (some #{:part} sources) (assoc :multipart [{:name "a" :content (source closed :part)}]))]
          (is (thrown? Exception (client/request opts (when-not request "no function"))))
          (is (= (set sources) @closed)))))
    (doseq [[about part] {"a content" {:name "b" :content true}
                          "a name"    {:name "b\r\n" :content "x"}
                          "no String" {:name 7 :content "x"}
                          "no map"    (list :name "b" :content)
                          "a source"  {:name "b" :content (proxy [InputStream] []
                                                           (read
                                                             ([] (throw (java.io.IOException. "no more")))
                                                             ([_ _ _] (throw (java.io.IOException. "no more")))))}}]
      (testing about
        (let [closed (atom #{})]
          (is (some? (error-of {:url here :method :post :multipart [{:name "a" :content (source closed "first")}
                                                                    part
                                                                    (list :name "c" :content (source closed "last"))]})))
          (is (= #{"first" "last"} @closed)))))
    (testing "a long file in a multipart"
      (let [in (FileInputStream. (file-of 1))]
        (is (= "ftp is not supported"
               (ex-message (error-of {:url "ftp://x" :method :post :multipart [{:name "a" :content in}]}))))
        (is (false? (.isOpen (.getChannel in))))))
    (testing "whatever closing one of them throws"
      (let [ex    (AssertionError. "no")
            wrong (proxy [FileInputStream] [(file-of 1)] (close [] (throw ex)))
            in    (FileInputStream. (file-of 1))]
        (doseq [opts [{:body wrong} {:multipart [{:name "a" :content wrong} {:name "b" :content in}]}]
                :let [e (error-of (assoc opts :url "ftp://x" :method :post))]]
          (is (= "ftp is not supported" (ex-message e)))
          (is (= [ex] (seq (.getSuppressed ^Throwable e)))))
        (is (false? (.isOpen (.getChannel in))))))))

(deftest a-source-that-fails-or-that-cannot-be-closed-fails-the-request
  (peer/with-peer [p (fn [conn] (peer/read-head! conn) (peer/await-end! conn))]
    (let [ex (java.io.IOException. "no more")]
      (doseq [[about body] {"read" (proxy [InputStream] [] (read ([] (throw ex)) ([_ _ _] (throw ex))))
                            "read and close" (proxy [InputStream] []
                                               (read ([] (throw ex)) ([_ _ _] (throw ex)))
                                               (close [] (throw ex)))
                            "close" (proxy [InputStream] [] (read ([] -1) ([_ _ _] -1)) (close [] (throw ex)))}]
        (testing about
          (is (identical? ex (:error (deref (client/post (:url p) {:body body :chunked? true}) 10000 nil)))))))
    (testing "and all other parts are closed"
      (doseq [ex [(java.io.IOException. "no") (IllegalStateException. "no") (AssertionError. "no")]]
        (let [closed (atom #{})
              source (fn [called f]
                       (proxy [InputStream] []
                         (read ([] -1) ([_ _ _] -1))
                         (close [] (swap! closed conj called) (f))))
              parts  [{:name "a" :content (source "first" #(throw ex))}
                      {:name "b" :content (source "second" (constantly nil))}
                      {:name "c" :content (source "last" #(throw (RuntimeException. "another")))}]]
          (is (identical? ex (:error (deref (client/post (:url p) {:multipart parts :chunked? true}) 10000 nil))))
          (is (peer/eventually #(= #{"first" "second" "last"} @closed)) (str (class ex) @closed)))))))

(deftest parts-of-a-chunked-body-are-read-as-they-are-sent
  (peer/with-peer [p (peer/answering (fn [{:keys [body] :as request}] (str (peer/header request "content-length") " " body)))]
    (with-open [out (PipedOutputStream.)]
      (let [in     (PipedInputStream. out)
            parts  [{:name "a" :content "x"} {:name "f" :content in} {:name "z" :content "y"}]
            result (deref (future (client/post (:url p) {:multipart parts :chunked? true})) 5000 nil)]
        (is (some? result) "the call does not wait for the source")
        (.write out (.getBytes "first, "))
        (.flush out)
        (.write out (.getBytes "second"))
        (.close out)
        (when result
          (let [{:keys [body error]} (deref result 20000 nil)]
            (is (nil? error))
            (is (re-matches (re-pattern (str "(?s) (--\\S+)\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n\\1\r\n"
                                             "Content-Disposition: form-data; name=\"f\"\r\nContent-Type: application/octet-stream\r\n\r\n"
                                             "first, second\r\n\\1\r\n"
                                             "Content-Disposition: form-data; name=\"z\"\r\n\r\ny\r\n\\1--\r\n"))
                            (str body))))))))
  (testing "and closed if they are not"
    (let [closes (atom 0)
          source #(proxy [InputStream] []
                    (read ([] -1) ([_ _ _] -1))
                    (close [] (swap! closes inc)))]
      (is (some? (error-of {:url "ftp://x" :method :post :chunked? true
                            :multipart [{:name "a" :content (source)} {:name "b" :content (source)}]})))
      (is (= 2 @closes)))))

(defn- interrupted
  "What `f` returns on this thread while it is interrupted; checks that it is afterwards."
  [f]
  (.interrupt (Thread/currentThread))
  (try (f)
       (finally (is (Thread/interrupted) "the interrupt is left to the caller"))))

(deftest an-interrupted-thread-sends-files
  (let [file   (file-of 1)
        kinds  {"File"             (fn [] {:body file})
                "FileInputStream"  (fn [] {:body (java.io.FileInputStream. file)})
                "chunks of a File" (fn [] {:body file :chunked? true})
                "chunks"           (fn [] {:body (java.io.FileInputStream. file) :chunked? true})
                "part, File"       (fn [] {:multipart [{:name "f" :content file}]})
                "part, stream"     (fn [] {:multipart [{:name "f" :content (java.io.FileInputStream. file)}]})}]
    (doseq [[about length] {"streamed" megabyte, "in memory" 1000}]
      (with-open [f (RandomAccessFile. file "rw")] (.setLength f length))
      (peer/with-peer [p (peer/answering (fn [{:keys [body]}] (str (count body))))]
        (doseq [[kind opts] kinds
                :let [{:keys [body error]} (deref (interrupted #(client/post (:url p) (opts))) 20000 nil)]]
          (is (<= length (Long/parseLong (or body "-1"))) (str about ", " kind ": " error)))))))
